/** A transaction, as an application asks about it. Amounts are digits: a double is not exact. */
export type Transaction = {
  chain: string;
  hash: string;
  to?: string;
  amount: string;
  wallet_address?: string;
  user_id?: string;
};

/** What the policy allows. */
export type Policy = {
  /** Addresses that nobody may send to. */
  blocked: Set<string>;
  /** Base units from which a transfer is looked at; undefined for none. */
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

/** What is wrong with a request; undefined when nothing is. */
export function faultOf(asked: unknown): string | undefined {
  if (typeof asked !== "object" || asked === null) return "must be a JSON object";
  const { chain, hash, amount } = asked as Record<string, unknown>;
  if (typeof chain !== "string") return "chain must be a string";
  if (typeof hash !== "string") return "hash must be a string";
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
