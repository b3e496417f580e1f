import { jetstream } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { decide, faultOf, policyOf, type Transaction } from "./policy.ts";

const policy = policyOf((name) => Deno.env.get(name));
let connection: Promise<NatsConnection> | undefined; // lives as long as the worker

function nats(): Promise<NatsConnection> {
  const servers = Deno.env.get("NATS_URL")!.split(",");
  connection ??= connect({
    servers,
    user: Deno.env.get("NATS_USER") || undefined,
    pass: Deno.env.get("NATS_PASSWORD") || undefined,
    // Without it the client ignores tls://, and sends the password to a server without TLS.
    tls: servers[0].startsWith("tls://") ? { ca: Deno.env.get("NATS_CA") || undefined } : undefined,
    name: "policy-checker",
    maxReconnectAttempts: -1,
  }).catch((error) => {
    connection = undefined; // the next request tries again
    throw error;
  });
  return connection;
}

/** Publishes the signal, and returns its sequence in the stream. */
async function send(signal: { trace_id: string }): Promise<number> {
  const js = jetstream(await nats());
  const ack = await js.publish("signals.risk_event", JSON.stringify(signal), {
    msgID: signal.trace_id,
  });
  return ack.seq;
}

/** Publishes without TCP, through `risksignal serve`, if RISKSIGNAL_URL is set. */
async function sendOverHttp(url: string, signal: { trace_id: string }): Promise<number> {
  const answer = await fetch(`${url}/v1/signals`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      authorization: `Bearer ${Deno.env.get("RISKSIGNAL_TOKEN")}`,
    },
    body: JSON.stringify(signal),
  });
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}: ${await answer.text()}`);
  return (await answer.json()).results[0].sequence;
}

Deno.serve(async (request) => {
  const asked = await request.json().catch(() => undefined);
  const fault = faultOf(asked);
  if (fault) return Response.json({ error: fault }, { status: 400 });
  const transaction = asked as Transaction;
  const { allowed, severity, score, reasons } = decide(transaction, policy);
  const signal = {
    event_time: new Date().toISOString(),
    source_id: "policy-checker",
    event_type: "risk_event",
    payload: {
      rule: "transfer_policy",
      score,
      reasons,
      chain: transaction.chain,
      tx_hash: transaction.hash,
      amount: transaction.amount,
    },
    severity,
    trace_id: crypto.randomUUID(),
    wallet_address: transaction.wallet_address,
    user_id: transaction.user_id,
  };
  try {
    const url = Deno.env.get("RISKSIGNAL_URL");
    const sequence = await (url ? sendOverHttp(url, signal) : send(signal));
    return Response.json({ allowed, reasons, trace_id: signal.trace_id, sequence });
  } catch (error) {
    // The decision is valid, but not recorded. The caller decides on the consequence.
    console.error("a risk event was not stored", error);
    return Response.json({ allowed, reasons, error: "not stored; try again" }, { status: 503 });
  }
});
