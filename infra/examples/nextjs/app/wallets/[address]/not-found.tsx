export default function NotFound() {
  return (
    <main>
      <h1>Not known</h1>
      <p className="muted">No signal has named this wallet. Addresses count as they are written.</p>
    </main>
  );
}
