package import Tensors

/// The only list of schemes: a new one is a line here.
package enum SchemeRegistry {
  package static let all: [any Scheme.Type] = [Int8Group.self, Int4Group.self]

  /// The scheme of a grouped encoding; nil for `f32`, `f16`, `bf16`, which keep elements as they are.
  package static func scheme(of encoding: Encoding) -> (any Scheme.Type)? {
    all.first { $0.kind == encoding.kind }
  }
}
