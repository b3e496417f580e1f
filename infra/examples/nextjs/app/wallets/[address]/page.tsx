import { notFound } from "next/navigation";
import { json, wallet, type Stored, type Wallet } from "@/lib/wallet";

export const dynamic = "force-dynamic";

type Props = { params: Promise<{ address: string }> };

export default async function Page({ params }: Props) {
  const address = decodeURIComponent((await params).address);
  const known = await wallet(address);
  if (!known) notFound();
  return (
    <main>
      <header>
        <p className="eyebrow">Wallet</p>
        <h1>{known.wallet_address}</h1>
        <p className="muted">
          First seen <time>{known.first_seen}</time>, last seen <time>{known.last_seen}</time>
        </p>
      </header>
      <div className="cards">
        {Object.entries(known.windows).map(([name, window]) => (
          <Window key={name} name={name} window={window} />
        ))}
        <Snapshot snapshot={known.snapshot} />
      </div>
      <Signals signals={known.last_signals} />
    </main>
  );
}

function Window({ name, window }: { name: string; window: Wallet["windows"][string] }) {
  return (
    <section className="card" id={`window-${name}`}>
      <h2>Last {name}</h2>
      <p className="figure">{String(window.signals)}</p>
      <dl>
        {Object.entries(window.by_severity).map(([severity, count]) => (
          <div key={severity}>
            <dt>
              <Severity of={severity} />
            </dt>
            <dd>{String(count)}</dd>
          </div>
        ))}
      </dl>
      <dl>
        {Object.entries(window.by_type).map(([type, count]) => (
          <div key={type}>
            <dt>{type}</dt>
            <dd>{String(count)}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function Snapshot({ snapshot }: { snapshot: Stored | null }) {
  const balances = (snapshot?.payload?.balances ?? {}) as Record<string, unknown>;
  return (
    <section className="card" id="snapshot">
      <h2>Balances</h2>
      {snapshot ? (
        <>
          <dl>
            {Object.entries(balances).map(([token, amount]) => (
              <div key={token}>
                <dt>{token}</dt>
                <dd className="amount">{String(amount)}</dd>
              </div>
            ))}
          </dl>
          <p className="muted">
            As of <time>{snapshot.event_time}</time>
          </p>
        </>
      ) : (
        <p className="muted">No snapshot of this wallet has come.</p>
      )}
    </section>
  );
}

function Signals({ signals }: { signals: Stored[] }) {
  return (
    <section className="card" id="signals">
      <h2>Last signals</h2>
      <div className="scroll">
        <table>
          <thead>
            <tr>
              <th>Time</th>
              <th>Type</th>
              <th>Severity</th>
              <th>Source</th>
              <th>Payload</th>
            </tr>
          </thead>
          <tbody>
            {signals.map((signal) => (
              <tr key={`${signal.trace_id} ${signal.stream_seq}`}>
                <td>
                  <time>{signal.event_time}</time>
                </td>
                <td>{signal.event_type}</td>
                <td>
                  <Severity of={String(signal.severity)} />
                </td>
                <td>{signal.source_id}</td>
                <td>
                  {signal.payload ? (
                    <details>
                      <summary>{signal.trace_id}</summary>
                      <pre>{json(signal.payload)}</pre>
                    </details>
                  ) : (
                    `${signal.payload_bytes} bytes`
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Severity({ of }: { of: string }) {
  return <span className={`severity severity-${of}`}>{of}</span>;
}
