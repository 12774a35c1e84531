// What both scenarios need: assertions about values, and about types, which only the compiler sees.

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Compiles only if two types are the same; `any` is the same as nothing but itself. */
export function same<A, B>(..._proof: Same<A, B> extends true ? [] : [never]): void {}

export function check(holds: boolean, what: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(what));
}

export function known<T>(value: T | null | undefined, what?: unknown): T {
  if (value === null || value === undefined) throw new Error(`nothing there: ${JSON.stringify(what)}`);
  return value;
}

export function environment(name: string): string {
  return known(process.env[name], name);
}

export function pause(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

export function tell(seen: Record<string, unknown>): void {
  console.log(JSON.stringify(seen));
}
