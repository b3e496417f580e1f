import { redirect } from "next/navigation";

async function open(form: FormData) {
  "use server";
  redirect(`/wallets/${encodeURIComponent(String(form.get("address")))}`);
}

export default function Home() {
  return (
    <main>
      <h1>Wallets</h1>
      <form action={open}>
        <input name="address" aria-label="Address" placeholder="Address" required />
        <button>Show</button>
      </form>
    </main>
  );
}
