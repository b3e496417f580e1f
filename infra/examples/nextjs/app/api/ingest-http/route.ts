import { read } from "@/lib/signal";

// For a runtime without TCP, such as the edge runtime: the daemon's HTTP API.
export async function POST(request: Request) {
  const taken = read(await request.text());
  if (taken.faults) return Response.json({ errors: taken.faults }, { status: 422 });
  try {
    const answer = await fetch(`${process.env.RISKSIGNAL_URL}/v1/signals`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        authorization: `Bearer ${process.env.RISKSIGNAL_INGEST_TOKEN}`,
      },
      body: taken.body,
      signal: AbortSignal.timeout(10_000),
    });
    return new Response(answer.body, {
      status: answer.status,
      headers: { "content-type": answer.headers.get("content-type") ?? "application/json" },
    });
  } catch (error) {
    console.error("a signal was not sent", error);
    return Response.json({ errors: [{ detail: "not stored; try again" }] }, { status: 503 });
  }
}
