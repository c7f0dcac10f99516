import Pack
package import Tensors

/// An engine that serves exports of a pack, as far as it restricts how precision may vary.
package struct ServingEngine: Sendable {
  /// Matrices that must have one encoding.
  package enum Sharing: Sendable {
    /// All matrices of a layer's experts.
    case layer
    /// The same matrix of all experts of a layer, which the engine stacks.
    case projection
  }

  package let name: String
  /// What it is told by, for lists.
  package let summary: String
  package let sharing: Sharing
  /// Of ``PrecisionTarget/levels``, those that its formats hold without loss.
  package let levels: [Encoding]

  private init(_ name: String, _ summary: String, _ sharing: Sharing) {
    self.name = name
    self.summary = summary
    self.sharing = sharing
    // Groups of 16 fit none of them; scales of one byte are bf16 numbers to all.
    levels = PrecisionTarget.levels.filter { $0.groupSize > 16 }
  }

  package static let all: [ServingEngine] = [
    ServingEngine("sglang", "compressed-tensors: one scheme for all experts of a layer", .layer),
    ServingEngine("mlx", "one encoding for each stacked matrix of a layer", .projection),
    ServingEngine("llama.cpp", "one encoding for each stacked matrix of a layer", .projection),
    ServingEngine("minnow", "one encoding for each stacked matrix of a layer", .projection),
  ]

  package init?(name: String) {
    guard let found = Self.all.first(where: { $0.name == name }) else { return nil }
    self = found
  }

  /// What shares a level.
  struct Unit: Hashable {
    var layer = 0
    /// -1 for all of a layer.
    var expert = -1
    /// -1 for all of an expert.
    var projection = -1
  }

  /// - Parameter engine: nil where each matrix stands alone.
  static func unit(of chunk: PackPlan.Chunk, _ projection: Int, in engine: ServingEngine?) -> Unit {
    switch engine?.sharing {
    case nil: Unit(layer: chunk.layer, expert: chunk.expert, projection: projection)
    case .projection: Unit(layer: chunk.layer, projection: projection)
    case .layer: Unit(layer: chunk.layer)
    }
  }
}
