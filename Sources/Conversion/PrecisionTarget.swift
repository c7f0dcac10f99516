package import Tensors

/// How large the result may be, or how far from its source; each matrix of a routed expert then gets the encoding that makes the
/// most of the bytes.
package enum PrecisionTarget: Sendable, Equatable, CustomStringConvertible {
  /// Bits a weight of the routed experts, all that is stored of them counted.
  case bitsPerWeight(Double)
  /// Bytes of the pack.
  case bytes(Int)
  /// Mean KL divergence at masked positions of texts that are held out, in nats.
  case divergence(Double)

  package var description: String {
    switch self {
    case .bitsPerWeight(let bits): "\(bits == bits.rounded() ? "\(Int(bits))" : "\(bits)")bpw"
    case .bytes(let count): "\(count)B"
    case .divergence(let nats): "kl \(nats)"
    }
  }

  /// What a matrix can get, by ascending size.
  package static let levels: [Encoding] = [
    "int4-g128s8", "int4-g64s8", "int4-g32s8", "int4-g16s8", "int8-g64s8",
  ].compactMap { Encoding(name: $0) }
}
