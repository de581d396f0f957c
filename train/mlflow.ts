import type { RunEnd, Tracker, TrackerOptions } from "./tracker.ts";
export class MlflowTracker { static open(_o: TrackerOptions): Promise<Tracker> { throw 1; } }
