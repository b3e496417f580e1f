"use client";

export default function Unavailable({ reset }: { reset: () => void }) {
  return (
    <main>
      <h1>Not available</h1>
      <p className="muted">What is known of this wallet cannot be read at present.</p>
      <button onClick={reset}>Try again</button>
    </main>
  );
}
