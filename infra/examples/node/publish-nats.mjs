// The client's old form: a signal a line from standard input, each published as it is.
import { createInterface } from "node:readline";
import { connect } from "nats";

const nc = await connect({
  servers: process.env.NATS_URL,
  user: process.env.NATS_USER || undefined,
  pass: process.env.NATS_PASSWORD || undefined,
});
const js = nc.jetstream();
for await (const line of createInterface({ input: process.stdin })) {
  const { event_type, trace_id } = JSON.parse(line);
  const ack = await js.publish(`signals.${event_type}`, line, { msgID: trace_id });
  console.log(trace_id, ack.seq);
}
await nc.drain();
