// Assertions of both scenarios: about values, and about types, which only the compiler checks.

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Compiles only if two types are identical; `any` is identical only to itself. */
export function same<A, B>(..._proof: Same<A, B> extends true ? [] : [never]): void {}

export function check(holds: boolean, seen: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(seen));
}

export function known<T>(value: T | null | undefined, context?: unknown): T {
  if (value === null || value === undefined) throw new Error(`no value: ${JSON.stringify(context)}`);
  return value;
}

export function environment(name: string): string {
  return known(process.env[name], name);
}

export function pause(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

export function report(seen: Record<string, unknown>): void {
  console.log(JSON.stringify(seen));
}
