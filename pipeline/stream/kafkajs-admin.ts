/**
 * kafkajs's admin client, thrown away and made anew when it does not connect or does not answer.
 *
 * It stays with the broker it began with, and all its calls share one lookup of metadata: should that ever hang, every
 * later call hangs with it.
 */
import type { Admin, Kafka } from "kafkajs";
import { SealstreamError } from "../errors.ts";
import { quietly } from "./kafkajs-producer.ts";

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
  async ask<T>(use: (admin: Admin) => Promise<T>): Promise<T> {
    this.#admin ??= this.#kafka.admin();
    const admin = this.#admin;
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      this.#drop(admin);
      late.reject(new SealstreamError("kafka-failed", "The brokers do not answer."));
    }, this.#answerMs);
    try {
      return await Promise.race([this.#connected(admin).then(use), late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #connected(admin: Admin): Promise<Admin> {
    try {
      // Which does nothing where there is a connection.
      await admin.connect();
      return admin;
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
    await (this.#admin && quietly(this.#admin.disconnect()));
  }
}
