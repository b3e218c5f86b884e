/**
 * What every lane's machine must keep to, whatever it hears: one question at a time, in the order of the protocol, one
 * fetch beside it, and nothing of an ownership after its discard.
 */
import type { LaneAction, LaneEvent } from "../../pipeline/stream/lane-events.ts";

type Asking = Exclude<Extract<LaneAction, { readonly id: number }>["type"], "fetch">;

/** After the answer to which action an action may be asked for; `nothing` stands for the beginning. */
const FOLLOWS: Readonly<Record<Asking, readonly (Asking | "nothing")[]>> = {
  fence: ["nothing", "discard"],
  locate: ["fence"],
  recall: ["locate"],
  open: ["recall"],
  process: ["open", "process", "commit"],
  begin: ["process"],
  send: ["begin", "send"],
  remember: ["begin", "send"],
  sendOffset: ["remember"],
  commit: ["remember", "sendOffset"],
  discard: [
    "fence",
    "locate",
    "recall",
    "open",
    "process",
    "begin",
    "send",
    "remember",
    "sendOffset",
    "commit",
  ],
};

export class OrderCheck {
  readonly #violate: (text: string) => void;
  #asked: { readonly type: Asking; readonly id: number } | null = null;
  #answered: Asking | "nothing" = "nothing";
  #hasFailed = false;
  #isOpen = false;
  #fetching: number | null = null;
  #isEnded = false;

  constructor(violate: (text: string) => void) {
    this.#violate = violate;
  }

  ask(action: LaneAction): void {
    if (this.#isEnded) {
      this.#violate(`${action.type} after the end`);
    }
    switch (action.type) {
      case "ended":
        this.#isEnded = true;
        if (this.#asked !== null || this.#isOpen) {
          this.#violate("ended while something is held");
        }
        return;
      case "report":
      case "wait":
      case "restart":
        return;
      case "fetch":
        if (!this.#isOpen || this.#fetching !== null) {
          this.#violate("fetch without a reader of its own");
        }
        this.#fetching = action.id;
        return;
      default:
        this.#askOne(action.type, action.id);
    }
  }

  hear(event: LaneEvent): void {
    if (!("id" in event)) {
      return;
    }
    if (event.id === this.#fetching) {
      this.#fetching = null;
    } else if (event.id === this.#asked?.id) {
      const { type } = this.#asked;
      this.#asked = null;
      this.#answered = type;
      this.#hasFailed = event.type === "failed";
      this.#isOpen ||= type === "open" && !this.#hasFailed;
    }
  }

  #askOne(type: Asking, id: number): void {
    if (this.#asked !== null) {
      this.#violate(`${type} before ${this.#asked.type} was answered`);
    }
    if (!FOLLOWS[type].includes(this.#answered) || (this.#hasFailed && type !== "discard")) {
      this.#violate(`${type} after ${this.#answered}${this.#hasFailed ? ", which failed" : ""}`);
    }
    if (type === "discard") {
      this.#isOpen = false;
      this.#fetching = null;
      this.#hasFailed = false;
    }
    this.#asked = { type, id };
  }
}
