// Somebody tells, others listen.

export class Signal<T = void> {
  private readonly listeners = new Set<(value: T) => void>();

  on(listener: (value: T) => void): void {
    this.listeners.add(listener);
  }

  tell(value: T): void {
    for (const listener of this.listeners) listener(value);
  }
}
