import { parse, stringify } from "lossless-json";

export type Stored = {
  stream_seq: unknown;
  event_time: string;
  event_type: string;
  source_id: string;
  severity: unknown;
  trace_id: string;
  user_id?: string;
  payload?: Record<string, unknown>;
  payload_bytes?: unknown;
};
type Count = Record<string, unknown>;
export type Wallet = {
  wallet_address: string;
  first_seen: string;
  last_seen: string;
  windows: Record<string, { signals: unknown; by_severity: Count; by_type: Count }>;
  snapshot: Stored | null;
  last_signals: Stored[];
};

/** Returns the state of a wallet, or undefined. Server only, since the token is here. */
export async function wallet(address: string): Promise<Wallet | undefined> {
  const token = process.env.RISKSIGNAL_READ_TOKEN;
  if (!token) throw new Error("RISKSIGNAL_READ_TOKEN is not set; .env.example says which token it is");
  const url = `${process.env.RISKSIGNAL_URL}/v1/wallets/${encodeURIComponent(address)}`;
  const answer = await fetch(url, {
    headers: { authorization: `Bearer ${token}` },
    cache: "no-store",
    signal: AbortSignal.timeout(10_000),
  });
  if (answer.status === 404) return undefined;
  if (!answer.ok) throw new Error(`GET ${url}: ${answer.status}`);
  // Numbers keep their digits: amounts may exceed a double's precision.
  return parse(await answer.text()) as Wallet;
}

export const json = (value: unknown) => stringify(value, null, 1) ?? "";
