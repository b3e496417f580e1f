// What an application has to send, and whether it does.
import { z } from "zod";
import { Signal } from "./schemas.js";

export * from "./schemas.js";

/**
 * Signals that are published on this subject, such as signals.transaction: where one tells no
 * event type, the subject does.
 */
export const signalOn = (subject: string) =>
  z.preprocess((value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
    const { event_type } = value as { event_type?: unknown };
    return { ...value, event_type: event_type ?? subject.split(".")[1] };
  }, Signal);
