// What JSON Schema says and Zod has no word for. Used by schemas.ts.
import type { z } from "zod";

type Fields = Record<string, unknown>;
type Context = z.core.$RefinementCtx<unknown>;

/** A length in characters. JavaScript's own length counts some characters twice. */
export const characters = (min: number, max: number) => (text: string) => {
  const count = [...text].length;
  return min <= count && count <= max;
};

/** A pattern that only a string has to match. */
export const matches = (pattern: RegExp) => (value: unknown) =>
  typeof value !== "string" || pattern.test(value);

/** At least one of these fields has to be there. */
export const oneOf = (fields: string[]) => (value: Fields, context: Context) => {
  if (!fields.some((field) => value[field] !== undefined)) {
    context.addIssue({ code: "custom", message: `one of ${fields.join(", ")} is missing` });
  }
};

/** Where a field has one of these values, this holds too. */
export const when =
  (field: string, values: string[], schema: z.ZodType) => (value: Fields, context: Context) => {
    if (!values.includes(value[field] as string)) return;
    for (const { path, message } of schema.safeParse(value).error?.issues ?? []) {
      context.addIssue({ code: "custom", path, message });
    }
  };

const TIME =
  /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/;

/** RFC 3339, of a day that there is, from 1900 to 2299. */
export const isTime = (text: string) => {
  const [, year, month, day, hour, minute, second] = (TIME.exec(text) ?? []).map(Number);
  if (year === undefined || hour! > 23 || minute! > 59 || second! > 59) return false;
  const days = new Date(Date.UTC(year, month!, 0)).getUTCDate();
  // Of two digits, Date makes a year of the last century.
  if (year < 1800 || month! < 1 || month! > 12 || day! < 1 || day! > days) return false;
  const utc = new Date(text).getUTCFullYear();
  return utc >= 1900 && utc <= 2299;
};
