import { jetstream } from "@nats-io/jetstream";
import { nats } from "@/lib/nats";
import { read } from "@/lib/signal";

export const runtime = "nodejs"; // the edge runtime has no TCP

export async function POST(request: Request) {
  const taken = read(await request.text());
  if (taken.faults) return Response.json({ errors: taken.faults }, { status: 422 });
  const { event_type, trace_id } = taken.signal;
  try {
    const js = jetstream(await nats());
    const subject = `signals.${event_type.replace(/[\s.*>]/g, "_")}`;
    const ack = await js.publish(subject, taken.body, { msgID: trace_id });
    return Response.json({ trace_id, sequence: ack.seq, duplicate: ack.duplicate }, { status: 202 });
  } catch (error) {
    // Perhaps not stored: with the same trace_id another attempt is no duplicate.
    console.error("a signal was not published", error);
    return Response.json({ trace_id, errors: [{ detail: "not stored; try again" }] }, { status: 503 });
  }
}
