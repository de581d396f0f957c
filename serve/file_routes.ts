import type { Hono } from "hono";
import { ApiError } from "./errors.ts";
import { fileObject, type FileStore } from "./files.ts";
import { inTime } from "./in_time.ts";
import { tooLarge } from "./pictures.ts";

/** What becomes of files that clients leave. */
export interface FileRouteOptions {
  /** Where they are kept. */
  readonly files: FileStore;
  /** Bytes of one at most. */
  readonly maxBytes: number;
  /** Throws when one is no picture. */
  readonly check: (bytes: Uint8Array<ArrayBuffer>) => Promise<unknown>;
}

/** Adds the routes by which clients leave files, look at them, and remove them. */
export function fileRoutes(hono: Hono, { files, maxBytes, check }: FileRouteOptions): void {
  const stored = (id: string) => {
    const file = files.get(id);
    if (file) return file;
    throw new ApiError(404, `There is no file ${JSON.stringify(id)}.`, {
      code: "file_not_found",
    });
  };
  hono.post("/v1/files", async (c) => {
    const form = await inTime(
      c.req.formData().catch(() => {
        throw new ApiError(400, "A file must be sent as multipart/form-data.");
      }),
    );
    const file = form.get("file");
    if (!(file instanceof File)) {
      throw new ApiError(400, "The form has no file in the field file.", { param: "file" });
    }
    if (file.size > maxBytes) throw tooLarge(maxBytes, "file");
    const purpose = form.get("purpose");
    const bytes = await file.bytes();
    await check(bytes);
    const kept = files.add(file.name, typeof purpose === "string" ? purpose : "", bytes);
    if (files.get(kept.id)) return c.json(fileObject(kept));
    throw new ApiError(413, `No file of ${bytes.length} bytes can be kept here (--files_mb).`, {
      param: "file",
      code: "file_too_large",
    });
  });
  hono.get(
    "/v1/files",
    (c) => c.json({ object: "list", data: files.list().map(fileObject), has_more: false }),
  );
  hono.get("/v1/files/:id", (c) => c.json(fileObject(stored(c.req.param("id")))));
  hono.get("/v1/files/:id/content", (c) =>
    c.body(stored(c.req.param("id")).bytes, 200, {
      "content-type": "application/octet-stream",
      "content-disposition": "attachment",
    }));
  hono.delete("/v1/files/:id", (c) => {
    const { id } = stored(c.req.param("id"));
    return c.json({ id, object: "file", deleted: files.delete(id) });
  });
}
