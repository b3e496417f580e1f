// Made by `risksignal schema export --typescript`. Do not edit.
import { z } from "zod";
import { characters, isTime, matches, oneOf, when } from "./rules.js";

/** `risk_event`: a rule that fired. */
export const RiskEvent = z.looseObject({
  /** The chain, where it concerns one. */
  chain: z.string().regex(/^[0-9a-z._:-]{1,64}$/u).optional(),
  /** What judged, with its version. */
  model: z.string().refine(characters(1, 128)).nullable().optional(),
  /** Why it fired. */
  reasons: z.array(z.string().refine(characters(1, 128))).max(64).nullable().optional(),
  /** The rule that fired. */
  rule: z.string().refine(characters(1, 128)),
  /** How sure the rule is, from 0 to 1. */
  score: z.number().min(0.0).max(1.0),
  /** The transaction that it is about, on that chain. */
  tx_hash: z.string().refine(characters(1, 128)).nullable().optional(),
})
  .superRefine(when("chain", ["ethereum","arbitrum","avalanche","base","blast","bsc","celo","gnosis","linea","mantle","optimism","polygon","scroll","zksync"], z.looseObject({
  tx_hash: z.unknown().refine(matches(/^0x[0-9a-fA-F]{64}$/u)).optional(),
})))
  .superRefine(when("chain", ["solana"], z.looseObject({
  tx_hash: z.unknown().refine(matches(/^[1-9A-HJ-NP-Za-km-z]{64,88}$/u)).optional(),
})))
  .superRefine(when("chain", ["bitcoin"], z.looseObject({
  tx_hash: z.unknown().refine(matches(/^[0-9a-f]{64}$/u)).optional(),
})));
export type RiskEvent = z.infer<typeof RiskEvent>;

/** `transaction`: a transfer or a call on a chain. Some fields have two names, as different indexers call them; of each pair either may be given. */
export const Transaction = z.looseObject({
  /** How much, in the token's base units. */
  amount: z.union([z.string().regex(/^[0-9]+(\.[0-9]+)?$/u), z.number().int().min(0), z.bigint().min(0n)]).optional(),
  /** The number of the block. */
  block: z.number().int().min(0).max(9007199254740991).nullable().optional(),
  /** The same as block. */
  block_number: z.number().int().min(0).max(9007199254740991).nullable().optional(),
  /** The chain, such as ethereum. */
  chain: z.string().regex(/^[0-9a-z._:-]{1,64}$/u),
  /** What it costs, in base units of the chain's own token. */
  fee: z.union([z.string().regex(/^[0-9]+(\.[0-9]+)?$/u), z.number().int().min(0), z.bigint().min(0n)]).nullable().optional(),
  /** Who sends. */
  from: z.string().refine(characters(1, 128)).optional(),
  /** The same as from. */
  from_address: z.string().refine(characters(1, 128)).optional(),
  /** Gas that may be used. */
  gas: z.number().int().min(0).max(9007199254740991).nullable().optional(),
  /** Price of a unit of gas, in base units of the chain's own token. */
  gas_price: z.union([z.string().regex(/^[0-9]+(\.[0-9]+)?$/u), z.number().int().min(0), z.bigint().min(0n)]).nullable().optional(),
  /** The transaction's hash or signature. */
  hash: z.string().refine(characters(1, 128)).optional(),
  /** What was called, such as swap. */
  method: z.string().refine(characters(1, 128)).nullable().optional(),
  /** The sender's count of transactions before this one. */
  nonce: z.number().int().min(0).max(9007199254740991).nullable().optional(),
  /** Who receives; absent or null where a contract is made. */
  to: z.string().refine(characters(1, 128)).nullable().optional(),
  /** The same as to. */
  to_address: z.string().refine(characters(1, 128)).nullable().optional(),
  /** The token's symbol. */
  token: z.string().refine(characters(1, 128)).nullable().optional(),
  /** The token's contract. */
  token_address: z.string().refine(characters(1, 128)).nullable().optional(),
  /** The same as hash. */
  transaction_hash: z.string().refine(characters(1, 128)).optional(),
  /** The same as amount. */
  value: z.union([z.string().regex(/^[0-9]+(\.[0-9]+)?$/u), z.number().int().min(0), z.bigint().min(0n)]).optional(),
})
  .superRefine(oneOf(["amount","value"]))
  .superRefine(oneOf(["hash","transaction_hash"]))
  .superRefine(when("chain", ["ethereum","arbitrum","avalanche","base","blast","bsc","celo","gnosis","linea","mantle","optimism","polygon","scroll","zksync"], z.looseObject({
  from: z.unknown().refine(matches(/^0x[0-9a-fA-F]{40}$/u)).optional(),
  from_address: z.unknown().refine(matches(/^0x[0-9a-fA-F]{40}$/u)).optional(),
  hash: z.unknown().refine(matches(/^0x[0-9a-fA-F]{64}$/u)).optional(),
  to: z.unknown().refine(matches(/^0x[0-9a-fA-F]{40}$/u)).optional(),
  to_address: z.unknown().refine(matches(/^0x[0-9a-fA-F]{40}$/u)).optional(),
  token_address: z.unknown().refine(matches(/^0x[0-9a-fA-F]{40}$/u)).optional(),
  transaction_hash: z.unknown().refine(matches(/^0x[0-9a-fA-F]{64}$/u)).optional(),
})
  .superRefine(oneOf(["from","from_address"]))))
  .superRefine(when("chain", ["solana"], z.looseObject({
  from: z.unknown().refine(matches(/^[1-9A-HJ-NP-Za-km-z]{32,44}$/u)).optional(),
  from_address: z.unknown().refine(matches(/^[1-9A-HJ-NP-Za-km-z]{32,44}$/u)).optional(),
  hash: z.unknown().refine(matches(/^[1-9A-HJ-NP-Za-km-z]{64,88}$/u)).optional(),
  to: z.unknown().refine(matches(/^[1-9A-HJ-NP-Za-km-z]{32,44}$/u)).optional(),
  to_address: z.unknown().refine(matches(/^[1-9A-HJ-NP-Za-km-z]{32,44}$/u)).optional(),
  token_address: z.unknown().refine(matches(/^[1-9A-HJ-NP-Za-km-z]{32,44}$/u)).optional(),
  transaction_hash: z.unknown().refine(matches(/^[1-9A-HJ-NP-Za-km-z]{64,88}$/u)).optional(),
})
  .superRefine(oneOf(["from","from_address"]))))
  .superRefine(when("chain", ["bitcoin"], z.looseObject({
  from: z.unknown().refine(matches(/^([13][1-9A-HJ-NP-Za-km-z]{25,34}|bc1[02-9ac-hj-np-z]{8,87})$/u)).optional(),
  from_address: z.unknown().refine(matches(/^([13][1-9A-HJ-NP-Za-km-z]{25,34}|bc1[02-9ac-hj-np-z]{8,87})$/u)).optional(),
  hash: z.unknown().refine(matches(/^[0-9a-f]{64}$/u)).optional(),
  to: z.unknown().refine(matches(/^([13][1-9A-HJ-NP-Za-km-z]{25,34}|bc1[02-9ac-hj-np-z]{8,87})$/u)).optional(),
  to_address: z.unknown().refine(matches(/^([13][1-9A-HJ-NP-Za-km-z]{25,34}|bc1[02-9ac-hj-np-z]{8,87})$/u)).optional(),
  token_address: z.unknown().refine(matches(/^([13][1-9A-HJ-NP-Za-km-z]{25,34}|bc1[02-9ac-hj-np-z]{8,87})$/u)).optional(),
  transaction_hash: z.unknown().refine(matches(/^[0-9a-f]{64}$/u)).optional(),
})));
export type Transaction = z.infer<typeof Transaction>;

/** `wallet_snapshot`: what a wallet holds. */
export const WalletSnapshot = z.looseObject({
  /** The balance of each token, by its symbol or contract. */
  balances: z.record(z.string().refine(characters(1, 128)), z.union([z.string().regex(/^[0-9]+(\.[0-9]+)?$/u), z.number().int().min(0), z.bigint().min(0n)])),
  /** The number of the block that it is as of. */
  block: z.number().int().min(0).max(9007199254740991).nullable().optional(),
  /** The chain, such as ethereum. */
  chain: z.string().regex(/^[0-9a-z._:-]{1,64}$/u),
  /** The wallet's count of transactions. */
  nonce: z.number().int().min(0).max(9007199254740991).nullable().optional(),
  /** What all of it is worth, in US dollars. */
  total_usd: z.union([z.string().regex(/^[0-9]+(\.[0-9]+)?$/u), z.number().int().min(0), z.bigint().min(0n)]).nullable().optional(),
});
export type WalletSnapshot = z.infer<typeof WalletSnapshot>;

/** A signal, as it is published on signals.<event_type>. */
export const Signal = z.looseObject({
  /** When it happened: RFC 3339, or integer milliseconds since 1970; from 1900 to 2299. */
  event_time: z.union([z.string().refine(isTime), z.number().int().min(-2208988800000).max(10413791999999)]),
  /** Its type, which tells what the payload has to be. */
  event_type: z.string().refine(characters(1, 128)),
  /** What it carries. */
  payload: z.looseObject({}),
  /** How severe it is; 0 is least. */
  severity: z.number().int().min(0).max(5),
  /** What sends it. */
  source_id: z.string().refine(characters(1, 128)),
  /** Identifies it throughout: a UUID with hyphens. */
  trace_id: z.string().regex(/^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/u),
  /** The user, if it concerns one. */
  user_id: z.string().refine(characters(0, 256)).nullable().optional(),
  /** The wallet, if it concerns one. */
  wallet_address: z.string().refine(characters(0, 256)).nullable().optional(),
})
  .superRefine(when("event_type", ["risk_event"], z.looseObject({
  payload: RiskEvent.optional(),
})))
  .superRefine(when("event_type", ["transaction"], z.looseObject({
  payload: Transaction.optional(),
})))
  .superRefine(when("event_type", ["wallet_snapshot"], z.looseObject({
  payload: WalletSnapshot.optional(),
})));
export type Signal = z.infer<typeof Signal>;
