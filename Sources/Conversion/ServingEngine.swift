import Models
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
  package let sharing: Sharing
  /// Its names of tensors, which not every family has; nil where it takes those of the checkpoint.
  let dialect: NameDialect?
  /// Whether it takes quantized matrices that are no routed experts.
  package let holdsQuantizedRest: Bool
  /// Of ``PrecisionTarget/levels``, those that its formats hold without loss; scales of one byte are bf16 numbers to all.
  package let levels: [Encoding]

  /// Smaller groups fit the kernels of none of them.
  static let leastGroupSize = 32

  private init(_ name: String, _ sharing: Sharing, dialect: NameDialect?, holdsQuantizedRest: Bool) {
    self.name = name
    self.dialect = dialect
    self.sharing = sharing
    self.holdsQuantizedRest = holdsQuantizedRest
    levels = PrecisionTarget.levels.filter { $0.groupSize >= Self.leastGroupSize }
  }

  /// What `Formats/export-*.md` say of the formats that they read.
  package static let all: [ServingEngine] = [
    ServingEngine("sglang", .layer, dialect: nil, holdsQuantizedRest: false),
    ServingEngine("mlx", .projection, dialect: .mlx, holdsQuantizedRest: true),
    ServingEngine("llama.cpp", .projection, dialect: .ggml, holdsQuantizedRest: true),
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
