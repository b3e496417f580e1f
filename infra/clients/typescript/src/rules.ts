// Rules of JSON Schema that Zod lacks. Used by schemas.ts.
import type { z } from "zod";

type Fields = Record<string, unknown>;
type Context = z.core.$RefinementCtx<unknown>;

/** Requires a length in characters. JavaScript's own length counts some characters twice. */
export const characters = (min: number, max: number) => (text: string) => {
  const count = [...text].length;
  return min <= count && count <= max;
};

/** Requires a pattern of strings only. */
export const matches = (pattern: RegExp) => (value: unknown) =>
  typeof value !== "string" || pattern.test(value);

/** Requires at least one of these fields. */
export const oneOf = (fields: string[]) => (value: Fields, context: Context) => {
  if (!fields.some((field) => value[field] !== undefined)) {
    context.addIssue({ code: "custom", message: `one of ${fields.join(", ")} is missing` });
  }
};

/** Applies a schema if a field has one of these values. */
export const when =
  (field: string, values: string[], schema: z.ZodType) => (value: Fields, context: Context) => {
    if (!values.includes(value[field] as string)) return;
    for (const { path, message } of schema.safeParse(value).error?.issues ?? []) {
      context.addIssue({ code: "custom", path, message });
    }
  };

const TIME =
  /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/;

/** Requires RFC 3339 with an existing day, from 1900 to 2299. */
export const isTime = (text: string) => {
  const [, year, month, day, hour, minute, second] = (TIME.exec(text) ?? []).map(Number);
  if (year === undefined || hour! > 23 || minute! > 59 || second! > 59) return false;
  const days = new Date(Date.UTC(year, month!, 0)).getUTCDate();
  // Date takes a year of two digits as one of the last century.
  if (year < 1800 || month! < 1 || month! > 12 || day! < 1 || day! > days) return false;
  const utc = new Date(text).getUTCFullYear();
  return utc >= 1900 && utc <= 2299;
};
