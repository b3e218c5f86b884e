/**
 * kafkajs's admin client, thrown away and made anew when it does not connect or does not answer.
 *
 * It stays with the broker it began with, and all its calls share one lookup of metadata: should that ever hang, every
 * later call hangs with it.
 */
import type { Admin, Kafka } from "kafkajs";
import { SealstreamError } from "../errors.ts";
import { quietly } from "./kafkajs-producer.ts";
import { within } from "./time-limit.ts";

/** Above what kafkajs's own retries take while a coordinator or a leader moves. */
const ANSWER_MS = 60_000;

export class KafkajsAdmin {
  readonly #kafka: Kafka;
  readonly #answerMs: number;
  #admin: Admin | null = null;

  constructor(kafka: Kafka, answerMs = ANSWER_MS) {
    this.#kafka = kafka;
    this.#answerMs = answerMs;
  }

  /**
   * Uses the admin client, which connects by itself.
   * @throws SealstreamError `kafka-failed` when there is no answer in time; else what kafkajs throws
   */
  ask<T>(use: (admin: Admin) => Promise<T>): Promise<T> {
    this.#admin ??= this.#kafka.admin();
    const admin = this.#admin;
    return within(this.#answerMs, this.#use(admin, use), () => {
      this.#drop(admin);
      return new SealstreamError("kafka-failed", "The brokers do not answer.");
    });
  }

  async #use<T>(admin: Admin, use: (admin: Admin) => Promise<T>): Promise<T> {
    try {
      await this.#connect(admin);
      if (this.#admin !== admin) {
        throw new SealstreamError("kafka-failed", "The connection was closed.");
      }
      return await use(admin);
    } finally {
      if (this.#admin !== admin) {
        // Because it may have connected again after it was thrown away.
        void quietly(admin.disconnect());
      }
    }
  }

  async #connect(admin: Admin): Promise<void> {
    try {
      // Which does nothing where there is a connection.
      await admin.connect();
    } catch (error) {
      this.#drop(admin);
      throw error;
    }
  }

  #drop(admin: Admin): void {
    if (this.#admin === admin) {
      this.#admin = null;
      void quietly(admin.disconnect());
    }
  }

  async close(): Promise<void> {
    const admin = this.#admin;
    this.#admin = null;
    await (admin && quietly(admin.disconnect()));
  }
}
