"use client";

export default function Unavailable({ reset }: { reset: () => void }) {
  return (
    <main>
      <h1>Not available</h1>
      <p className="muted">This wallet cannot be read at present. The log of the server says why.</p>
      <button onClick={reset}>Try again</button>
    </main>
  );
}
