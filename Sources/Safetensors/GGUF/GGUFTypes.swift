package import Tensors

/// Types of elements that a GGUF may have, by their numbers there: most are blocks of several elements.
package enum GGUFTypes {
  /// How many elements share so many bytes.
  struct Block: Sendable {
    let name: String
    let elements: Int
    let byteCount: Int

    /// By the name that safetensors gives the type, where it has it.
    var dtype: DType { DType(name: name) }
  }

  /// Blocks of 32 codes behind a scale in f16: 16 bytes of halves, code j in the low one of byte j and code j + 16 in the high one,
  /// each code plus 8.
  package static let q4_0 = DType(name: "Q4_0")
  /// The same with 32 signed bytes.
  package static let q8_0 = DType(name: "Q8_0")
  /// Elements of a block of either.
  package static let blockElementCount = 32

  /// Bits of a code; nil for a type that is neither.
  package static func codeBits(_ dtype: DType) -> Int? { [q4_0: 4, q8_0: 8][dtype] }

  /// Bytes of a block of such codes with its scale, which is in front.
  package static func codeBlockByteCount(bits: Int) -> Int { 2 + blockElementCount * bits / 8 }

  /// Nil for a number that we do not know.
  static func block(_ number: UInt32) -> Block? {
    guard let (name, elements, byteCount) = table[number] else { return nil }
    return Block(name: name, elements: elements, byteCount: byteCount)
  }

  private static let table: [UInt32: (String, Int, Int)] = [
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
  ]
}
