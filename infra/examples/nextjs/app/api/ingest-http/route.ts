import { read } from "@/lib/signal";

// For a runtime without TCP, such as the edge runtime: the daemon's HTTP API.
export async function POST(request: Request) {
  const taken = read(await request.text());
  if (taken.faults) return Response.json({ errors: taken.faults }, { status: 422 });
  const token = process.env.RISKSIGNAL_INGEST_TOKEN;
  if (!token) {
    const detail = "RISKSIGNAL_INGEST_TOKEN is not set; .env.example says which token it is";
    return Response.json({ errors: [{ detail }] }, { status: 500 });
  }
  try {
    const answer = await fetch(`${process.env.RISKSIGNAL_URL}/v1/signals`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        authorization: `Bearer ${token}`,
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
