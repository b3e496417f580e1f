// The client's old form: publishes each line of standard input, a signal, unchanged.
import { createInterface } from "node:readline";
import { connect } from "nats";

const servers = process.env.NATS_URL.split(",");
const nc = await connect({
  servers,
  user: process.env.NATS_USER || undefined,
  pass: process.env.NATS_PASSWORD || undefined,
  // Without it the client ignores tls://, and sends the password to a server without TLS.
  tls: servers[0].startsWith("tls://") ? {} : undefined,
});
const js = nc.jetstream();
for await (const line of createInterface({ input: process.stdin })) {
  const { event_type, trace_id } = JSON.parse(line);
  const ack = await js.publish(`signals.${event_type}`, line, { msgID: trace_id });
  console.log(trace_id, ack.seq);
}
await nc.drain();
