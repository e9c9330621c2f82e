/**
 * Yields make(start), ..., make(end - 1) in order. When the consumer asks for item k, the makings of k to k + ahead have
 * been started and no later one; nothing is started before the first call. A failure is thrown where its item would come.
 */
export async function* prefetched<T>(make: (index: number) => Promise<T>, start: number, end: number, ahead: number): AsyncGenerator<T> {
  const started: Promise<T>[] = [];
  let next = start;
  for (let index = start; index < end; index++) {
    for (; next < end && next <= index + ahead; next++) {
      const item = make(next);
      item.catch(() => undefined); // thrown below, unless the consumer stops before
      started.push(item);
    }
    const item = started.shift();
    if (item) yield await item;
  }
}
