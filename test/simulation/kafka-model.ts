/**
 * The Kafka that matters to a lane: partition logs, transaction coordinators, transactional group offsets.
 *
 * A request takes effect at once when it is applied; that it is on its way for a while, lost, or arrives after its
 * sender's death is the caller's part (`driver.ts`). What takes time inside the brokers does so here: markers are
 * written one by one after a transaction was decided, and until the last of them is there, a fence and the next
 * transaction have to wait (CONCURRENT_TRANSACTIONS). Source: KIP-98, KIP-360, KIP-447; Kafka's transaction protocol
 * before KIP-890, which is the one kafkajs speaks.
 *
 * Modelled: epochs at the coordinator, at every partition and at the group's offsets; a fence that aborts what is open
 * with a raised epoch; transaction time-out; repeated requests (sequence numbers). Not modelled: brokers that fail
 * (acks=all with idempotence hides it from the lane), a first copy of a repeated EndTxn that arrives during the next
 * transaction of its epoch (KIP-890).
 */
import { PartitionLog, type Verdict, type Writer } from "./kafka-log.ts";
import type { Random, Scheduler } from "./random.ts";

/** A guard of the brokers that a test takes away to see it missed. */
export interface BrokerGuards {
  /** InitProducerId raises the epoch. */
  readonly fences: boolean;
}

/** One lane's committed offset in its group, and what of it is pending. */
export class GroupOffset {
  committed: number | null = null;
  readonly #pending = new Map<bigint, { readonly from: number; readonly to: number }>();
  readonly #epochs = new Map<bigint, number>();
  readonly #onCommit: (from: number, to: number) => void;

  constructor(onCommit: (from: number, to: number) => void) {
    this.#onCommit = onCommit;
  }

  /** TxnOffsetCommit. @param from where the records begin that `to` makes final: known to the model alone */
  append({ producerId, epoch }: Writer, from: number, to: number): Verdict {
    if (epoch < (this.#epochs.get(producerId) ?? -1)) {
      return "fenced";
    }
    this.#epochs.set(producerId, epoch);
    this.#pending.set(producerId, { from, to });
    return "ok";
  }

  mark({ producerId, epoch }: Writer, isCommit: boolean): void {
    this.#epochs.set(producerId, Math.max(epoch, this.#epochs.get(producerId) ?? -1));
    const pending = this.#pending.get(producerId);
    this.#pending.delete(producerId);
    if (pending !== undefined && isCommit) {
      this.committed = pending.to;
      this.#onCommit(pending.from, pending.to);
    }
  }
}

/** What a transaction reaches: a partition or the group's offsets. */
export type Target = PartitionLog | GroupOffset;

/** A transactional id at its coordinator. */
export class Coordinator {
  readonly #broker: BrokerModel;
  readonly #producerId: bigint;
  #epoch = -1;
  #state: "complete" | "ongoing" | "deciding" = "complete";
  #lastWasCommit = false;
  #targets = new Set<Target>();
  #transactions = 0;

  constructor(broker: BrokerModel, producerId: bigint) {
    this.#broker = broker;
    this.#producerId = producerId;
  }

  /** InitProducerId: the new owner, or `concurrent` while the transaction before is being settled. */
  fence(): Writer | "concurrent" {
    if (this.#state === "ongoing") {
      this.#abortForOther();
    }
    if (this.#state !== "complete") {
      return "concurrent";
    }
    this.#raise();
    return { producerId: this.#producerId, epoch: this.#epoch };
  }

  /** AddPartitionsToTxn and AddOffsetsToTxn. */
  add({ epoch }: Writer, target: Target): Verdict {
    if (epoch !== this.#epoch) {
      return "fenced";
    }
    if (this.#state === "deciding") {
      return "concurrent";
    }
    if (this.#state === "complete") {
      this.#state = "ongoing";
      this.#transactions += 1;
      this.#limitTime();
    }
    this.#targets.add(target);
    return "ok";
  }

  /** EndTxn. */
  end({ epoch }: Writer, isCommit: boolean): Verdict {
    if (epoch !== this.#epoch) {
      return "fenced";
    }
    if (this.#state === "ongoing") {
      this.#decide(isCommit);
      return "ok";
    }
    return this.#lastWasCommit === isCommit ? "ok" : "invalid";
  }

  #raise(): void {
    if (this.#broker.guards.fences || this.#epoch < 0) {
      this.#epoch += 1;
    }
  }

  #abortForOther(): void {
    this.#raise();
    this.#decide(false);
  }

  #limitTime(): void {
    const transaction = this.#transactions;
    this.#broker.scheduler.after(this.#broker.transactionTimeoutMs, () => {
      if (this.#state === "ongoing" && this.#transactions === transaction) {
        this.#broker.timeouts += 1;
        this.#abortForOther();
      }
    });
  }

  #decide(isCommit: boolean): void {
    this.#state = "deciding";
    this.#lastWasCommit = isCommit;
    const targets = [...this.#targets];
    this.#targets = new Set();
    const writer = { producerId: this.#producerId, epoch: this.#epoch };
    let left = targets.length;
    for (const target of targets) {
      this.#broker.scheduler.after(this.#broker.latency(), () => {
        target.mark(writer, isCommit);
        left -= 1;
        if (left === 0) {
          this.#state = "complete";
        }
      });
    }
  }
}

export class BrokerModel {
  readonly scheduler: Scheduler;
  readonly guards: BrokerGuards;
  readonly transactionTimeoutMs: number;
  /** Transactions that their coordinator aborted for taking too long. */
  timeouts = 0;
  readonly #random: Random | null;
  readonly #logs = new Map<string, PartitionLog>();
  readonly #coordinators = new Map<string, Coordinator>();

  /** @param random of latencies; null: every one is a millisecond */
  constructor(options: {
    readonly scheduler: Scheduler;
    readonly random: Random | null;
    readonly guards: BrokerGuards;
    readonly transactionTimeoutMs: number;
  }) {
    this.scheduler = options.scheduler;
    this.guards = options.guards;
    this.transactionTimeoutMs = options.transactionTimeoutMs;
    this.#random = options.random;
  }

  /** Milliseconds of one way through the network or one write of the brokers. */
  latency(): number {
    return this.#random === null ? 1 : this.#random.below(4);
  }

  log(topic: string, partition: number): PartitionLog {
    const name = `${topic}/${partition}`;
    let log = this.#logs.get(name);
    if (log === undefined) {
      log = new PartitionLog();
      this.#logs.set(name, log);
    }
    return log;
  }

  coordinator(transactionalId: string): Coordinator {
    let found = this.#coordinators.get(transactionalId);
    if (found === undefined) {
      found = new Coordinator(this, BigInt(this.#coordinators.size + 1));
      this.#coordinators.set(transactionalId, found);
    }
    return found;
  }
}
