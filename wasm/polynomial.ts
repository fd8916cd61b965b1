// CRC32 as the remainder of a polynomial over GF(2), for four blocks side by side in a vector. AssemblyScript.
//
// This follows S. Russell, "Chorba: A novel CRC32 implementation" (arXiv:2412.16398): no tables, but a sparse multiple of
// the polynomial. Take a block as a polynomial whose first bit has the highest degree. Its CRC is the remainder modulo
// the polynomial G of CRC32, and stays the same when multiples of G are added. Of the multiples of G with five terms,
//
//     Z = x^300 + x^155 + x^117 + x^89 + 1
//
// has the least degree. So a bit may be taken away where it is added 145, 183, 211 and 300 bits further on, for
// x^300 = x^155 + x^117 + x^89 + 1 modulo G. Z^8 has the exponents of Z times 8 and says the same of bytes.

/** Over GF(2), where a sum is exclusive or. */
export function add(a: v128, b: v128, c: v128, d: v128, e: v128): v128 {
  return v128.xor(v128.xor(a, b), v128.xor(v128.xor(c, d), e))
}

/**
 * The word at `from` and what moved onto it: `before` is ten words back. In words and bits, the distances are 4 and
 * 17, 5 and 23, 6 and 19, 9 and 12; the first bit is the least significant one.
 */
export function moved(from: usize, before: usize): v128 {
  const back5 = v128.load(before, 80)
  const back6 = v128.load(before, 64)
  return v128.xor(
    add(
      v128.load(from),
      i32x4.shl(v128.load(before, 96), 17),
      i32x4.shr_u(back5, 15),
      i32x4.shl(back5, 23),
      i32x4.shr_u(back6, 9),
    ),
    v128.xor(
      v128.xor(i32x4.shl(back6, 19), i32x4.shr_u(v128.load(before, 48), 13)),
      v128.xor(i32x4.shl(v128.load(before, 16), 12), i32x4.shr_u(v128.load(before), 20)),
    ),
  )
}

/**
 * A word times x^32 modulo G: the quotient is the upper half of the word times floor(x^64 / G), and the remainder the
 * lower half of the quotient times G.
 */
export function reduce(w: v128): v128 {
  const q = v128.xor(
    add(w, i32x4.shl(w, 6), i32x4.shl(w, 9), i32x4.shl(w, 10), i32x4.shl(w, 12)),
    v128.xor(
      add(i32x4.shl(w, 16), i32x4.shl(w, 24), i32x4.shl(w, 25), i32x4.shl(w, 26), i32x4.shl(w, 28)),
      v128.xor(v128.xor(i32x4.shl(w, 29), i32x4.shl(w, 30)), i32x4.shl(w, 31)),
    ),
  )
  return v128.xor(
    add(q, i32x4.shr_u(q, 1), i32x4.shr_u(q, 2), i32x4.shr_u(q, 4), i32x4.shr_u(q, 5)),
    v128.xor(
      add(i32x4.shr_u(q, 7), i32x4.shr_u(q, 8), i32x4.shr_u(q, 10), i32x4.shr_u(q, 11), i32x4.shr_u(q, 12)),
      v128.xor(
        v128.xor(i32x4.shr_u(q, 16), i32x4.shr_u(q, 22)),
        v128.xor(i32x4.shr_u(q, 23), i32x4.shr_u(q, 26)),
      ),
    ),
  )
}
