"use strict";
/* The data of the page; numbers are decoded when they are asked for. `pack.py` says how they are packed. */

const report = JSON.parse(document.getElementById("report").textContent);

const decoded = new Map();

/* A promise of the numbers of a blob. */
function numbers(blob) {
  if (!decoded.has(blob)) decoded.set(blob, unpack(document.getElementById(`b${blob}`).textContent));
  return decoded.get(blob);
}

async function unpack(text) {
  const inflater = new DecompressionStream("deflate-raw");
  const writer = inflater.writable.getWriter();
  writer.write(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));
  writer.close();
  const rows = new Uint8Array(await new Response(inflater.readable).arrayBuffer());
  const count = rows.length / 4;
  const bytes = new Uint8Array(rows.length);
  for (let byte = 0; byte < 4; byte++)
    for (let place = 0; place < count; place++) bytes[4 * place + byte] = rows[byte * count + place];
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: count }, (_, place) => view.getFloat32(4 * place, true));
}
