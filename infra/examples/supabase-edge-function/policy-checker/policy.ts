/** A transaction to check. Amounts are digits, since a double is not exact. */
export type Transaction = {
  chain: string;
  hash: string;
  to?: string;
  amount: string;
  wallet_address?: string;
  user_id?: string;
};

/** Limits of the policy. */
export type Policy = {
  /** Addresses that nobody may send to. */
  blocked: Set<string>;
  /** Base units from which a transfer is reviewed; undefined for none. */
  limit?: bigint;
};

export type Decision = { allowed: boolean; severity: number; score: number; reasons: string[] };

export function policyOf(env: (name: string) => string | undefined): Policy {
  const limit = env("POLICY_LIMIT");
  const blocked = (env("POLICY_BLOCKED") ?? "").split(",").filter(Boolean);
  return {
    blocked: new Set(blocked.map((address) => address.toLowerCase())),
    limit: limit ? BigInt(limit) : undefined,
  };
}

const EVM = /^0x[0-9a-fA-F]{64}$/;
/** Chains of this policy, each with its format of a transaction, by the contract. */
const HASHES: Record<string, RegExp> = {
  arbitrum: EVM,
  base: EVM,
  bitcoin: /^[0-9a-f]{64}$/,
  ethereum: EVM,
  solana: /^[1-9A-HJ-NP-Za-km-z]{64,88}$/,
};

/** Returns the fault of a request, or undefined. */
export function faultOf(asked: unknown): string | undefined {
  if (typeof asked !== "object" || asked === null) return "must be a JSON object";
  const { chain, hash, amount } = asked as Record<string, unknown>;
  const hashes = typeof chain === "string" && Object.hasOwn(HASHES, chain) ? HASHES[chain] : undefined;
  if (!hashes) return `chain must be one of ${Object.keys(HASHES).join(", ")}`;
  if (typeof hash !== "string" || !hashes.test(hash)) return `hash must be a transaction's on ${chain}`;
  if (typeof amount !== "string" || !/^[0-9]+$/.test(amount)) return "amount must be a string of digits";
}

export function decide({ to, amount }: Transaction, { blocked, limit }: Policy): Decision {
  const reasons = [];
  if (to && blocked.has(to.toLowerCase())) reasons.push("blocked_counterparty");
  if (limit !== undefined && BigInt(amount) > limit) reasons.push("over_limit");
  const isBlocked = reasons.includes("blocked_counterparty");
  return {
    allowed: !isBlocked,
    severity: isBlocked ? 5 : reasons.length > 0 ? 3 : 0,
    score: isBlocked ? 1 : reasons.length > 0 ? 0.6 : 0,
    reasons,
  };
}
