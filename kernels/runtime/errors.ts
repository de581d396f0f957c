/** Errors of Glimpse: each has a sentence for the person and, where there is one, the offending value. */

/** The base of every error that Glimpse throws on purpose. */
export class GlimpseError extends Error {
  /** The kind of error. */
  override name = "GlimpseError";
}

/** Tensors of the wrong shape or kind were given to an operation. */
export class ShapeError extends GlimpseError {
  /** The kind of error. */
  override name = "ShapeError";
}

/** There is no adapter, or the device was lost, or it refused a shader. */
export class DeviceError extends GlimpseError {
  /** The kind of error. */
  override name = "DeviceError";
}

/** A buffer could not be had on the device. */
export class OutOfMemoryError extends DeviceError {
  /** The kind of error. */
  override name = "OutOfMemoryError";
}

/** A file is not what its name or its place says: truncated, corrupt, unsafe, or of an unknown kind. */
export class FormatError extends GlimpseError {
  /** The kind of error. */
  override name = "FormatError";
}

/** A row of a data set cannot be used. */
export class DataError extends GlimpseError {
  /** The kind of error. */
  override name = "DataError";
}

/** A command was called with arguments that cannot be served. The command line exits with status 2. */
export class UsageError extends GlimpseError {
  /** The kind of error. */
  override name = "UsageError";
}
