import { connect, type NatsConnection } from "@nats-io/transport-node";

// One connection for the process: a hot reload finds it on globalThis.
const shared = globalThis as typeof globalThis & { nats?: Promise<NatsConnection> };

export function nats(): Promise<NatsConnection> {
  const servers = (process.env.NATS_URL ?? "nats://127.0.0.1:4222").split(",");
  shared.nats ??= connect({
    servers,
    user: process.env.NATS_USER || undefined,
    pass: process.env.NATS_PASSWORD || undefined,
    // Without it the client ignores tls://, and sends the password to a server without TLS.
    tls: servers[0].startsWith("tls://") ? {} : undefined,
    name: "nextjs",
    maxReconnectAttempts: -1,
  }).catch((error) => {
    shared.nats = undefined; // the next request tries again
    throw error;
  });
  return shared.nats;
}
