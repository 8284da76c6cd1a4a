import type { Origin } from '../wire/packet.js';

/**
 * Up to where events of each origin were heard. Positions of an origin ascend, so what is not beyond is a repetition:
 * two connections carry the same events while a session moves.
 */
export class Points {
  readonly #heard = new Map<number, number>();

  /** Takes up where the server's events begin, unless something was heard before. */
  begin(text: string): void {
    if (this.#heard.size > 0) return;
    for (const point of text.split(',')) {
      const [slot, position] = point.split('.').map(Number);
      if (Number.isSafeInteger(slot) && Number.isSafeInteger(position)) this.#heard.set(slot as number, position as number);
    }
  }

  /** Whether an event is news; then it is heard from now on. */
  isNew({ slot, position }: Origin): boolean {
    if (position <= (this.#heard.get(slot) ?? 0)) return false;
    this.#heard.set(slot, position);
    return true;
  }

  /** What a server is shown; never empty, because nothing heard is something else than nothing known. */
  toString(): string {
    const points = [...this.#heard].map(([slot, position]) => `${slot}.${position}`);
    return points.length === 0 ? '0.0' : points.join(',');
  }
}
