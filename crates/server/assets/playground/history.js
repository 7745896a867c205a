// Results of this browser, in IndexedDB: pictures, settings and seed. They outlive the server's copies, and leave no other
// trace than here.

const STORE = 'results';
/** The oldest go when there are more. */
const MOST = 60;

const opened = new Promise((done, failed) => {
  const request = indexedDB.open('material-transfer', 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: 'id' });
  request.onsuccess = () => done(request.result);
  request.onerror = () => failed(request.error);
});

async function within(mode, work) {
  const database = await opened;
  return new Promise((done, failed) => {
    const transaction = database.transaction(STORE, mode);
    const request = work(transaction.objectStore(STORE));
    transaction.oncomplete = () => done(request.result);
    transaction.onerror = transaction.onabort = () => failed(transaction.error);
  });
}

/** All entries, the newest first; none where the browser keeps nothing (a private window, say). */
export async function entries() {
  const all = await within('readonly', (store) => store.getAll()).catch(() => []);
  return all.sort((a, b) => b.time - a.time);
}

/** Keeps an entry; false where the browser does not let us. */
export async function keep(entry) {
  try {
    await within('readwrite', (store) => store.put(entry));
    for (const old of (await entries()).slice(MOST)) await forget(old.id);
    return true;
  } catch {
    return false;
  }
}

export const forget = (id) => within('readwrite', (store) => store.delete(id));
export const forgetAll = () => within('readwrite', (store) => store.clear());
