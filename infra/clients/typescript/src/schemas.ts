// Made by `risksignal schema export --typescript`. Do not edit.
import { z } from "zod";
import { characters, isTime, matches, oneOf, when } from "./rules.js";

/** `risk_event`: a rule that fired. */
export const RiskEvent = z.looseObject({
  /** Chain, if the event concerns one. */
  chain: z.string().regex(/^[0-9a-z._:-]{1,64}$/u).optional(),
  /** Model that decided, with its version. */
  model: z.string().refine(characters(1, 128)).nullable().optional(),
  /** Reasons for which it fired. */
  reasons: z.array(z.string().refine(characters(1, 128))).max(64).nullable().optional(),
  /** Rule that fired. */
  rule: z.string().refine(characters(1, 128)),
  /** Confidence of the rule, from 0 to 1. */
  score: z.number().min(0.0).max(1.0),
  /** Transaction on that chain that the event is about. */
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

/** `transaction`: a transfer or a call on a chain. Some fields have two names, since indexers differ; either of a pair may be given. */
export const Transaction = z.looseObject({
  /** Amount in the token's base units. */
  amount: z.union([z.string().regex(/^[0-9]+(\.[0-9]+)?$/u), z.number().int().min(0), z.bigint().min(0n)]).optional(),
  /** Number of the block. */
  block: z.number().int().min(0).max(9007199254740991).nullable().optional(),
  /** Same as block. */
  block_number: z.number().int().min(0).max(9007199254740991).nullable().optional(),
  /** The chain, such as ethereum. */
  chain: z.string().regex(/^[0-9a-z._:-]{1,64}$/u),
  /** Fee in base units of the chain's own token. */
  fee: z.union([z.string().regex(/^[0-9]+(\.[0-9]+)?$/u), z.number().int().min(0), z.bigint().min(0n)]).nullable().optional(),
  /** Sender's address. */
  from: z.string().refine(characters(1, 128)).optional(),
  /** Same as from. */
  from_address: z.string().refine(characters(1, 128)).optional(),
  /** Gas limit. */
  gas: z.number().int().min(0).max(9007199254740991).nullable().optional(),
  /** Price of a unit of gas, in base units of the chain's own token. */
  gas_price: z.union([z.string().regex(/^[0-9]+(\.[0-9]+)?$/u), z.number().int().min(0), z.bigint().min(0n)]).nullable().optional(),
  /** Hash or signature of the transaction. */
  hash: z.string().refine(characters(1, 128)).optional(),
  /** Called method, such as swap. */
  method: z.string().refine(characters(1, 128)).nullable().optional(),
  /** Number of the sender's earlier transactions. */
  nonce: z.number().int().min(0).max(9007199254740991).nullable().optional(),
  /** Receiver's address; absent or null where a contract is created. */
  to: z.string().refine(characters(1, 128)).nullable().optional(),
  /** Same as to. */
  to_address: z.string().refine(characters(1, 128)).nullable().optional(),
  /** Symbol of the token. */
  token: z.string().refine(characters(1, 128)).nullable().optional(),
  /** Contract of the token. */
  token_address: z.string().refine(characters(1, 128)).nullable().optional(),
  /** Same as hash. */
  transaction_hash: z.string().refine(characters(1, 128)).optional(),
  /** Same as amount. */
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

/** `wallet_snapshot`: balances of a wallet. */
export const WalletSnapshot = z.looseObject({
  /** Balance of each token, by its symbol or contract. */
  balances: z.record(z.string().refine(characters(1, 128)), z.union([z.string().regex(/^[0-9]+(\.[0-9]+)?$/u), z.number().int().min(0), z.bigint().min(0n)])),
  /** Number of the block at which the balances were read. */
  block: z.number().int().min(0).max(9007199254740991).nullable().optional(),
  /** The chain, such as ethereum. */
  chain: z.string().regex(/^[0-9a-z._:-]{1,64}$/u),
  /** Number of the wallet's transactions. */
  nonce: z.number().int().min(0).max(9007199254740991).nullable().optional(),
  /** Total value in US dollars. */
  total_usd: z.union([z.string().regex(/^[0-9]+(\.[0-9]+)?$/u), z.number().int().min(0), z.bigint().min(0n)]).nullable().optional(),
});
export type WalletSnapshot = z.infer<typeof WalletSnapshot>;

/** A signal, published on signals.<event_type>. */
export const Signal = z.looseObject({
  /** Time of the event: RFC 3339, or integer milliseconds since 1970; from 1900 to 2299. */
  event_time: z.union([z.string().refine(isTime), z.number().int().min(-2208988800000).max(10413791999999)]),
  /** Event type, which selects the payload's contract. */
  event_type: z.string().refine(characters(1, 128)),
  /** Content of the event. */
  payload: z.looseObject({}),
  /** Severity; 0 is lowest. */
  severity: z.number().int().min(0).max(5),
  /** Name of the sender. */
  source_id: z.string().refine(characters(1, 128)),
  /** Identifier of the signal throughout: a UUID with hyphens. */
  trace_id: z.string().regex(/^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/u),
  /** User, if the signal concerns one. */
  user_id: z.string().refine(characters(0, 256)).nullable().optional(),
  /** Wallet, if the signal concerns one. */
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
