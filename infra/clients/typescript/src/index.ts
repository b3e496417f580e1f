// Schemas of signals, and their check.
import { z } from "zod";
import { Signal } from "./schemas.js";

export * from "./schemas.js";

/**
 * Checks signals for publishing on this subject, such as signals.transaction. The subject gives the
 * event type of a signal without one.
 */
export const signalOn = (subject: string) =>
  z.preprocess((value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
    const { event_type } = value as { event_type?: unknown };
    return { ...value, event_type: event_type ?? subject.split(".")[1] };
  }, Signal);
