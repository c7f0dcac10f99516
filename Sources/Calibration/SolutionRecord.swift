import Pack
package import Quantization
import Safetensors
import Storage
import Tensors

/// What the solver says of each matrix of the experts: the file `quantization.safetensors` of a pack (`Formats/pack.md`, section
/// 7.2).
package struct SolutionRecord: Sendable, Equatable {
  /// How codes came about.
  package enum Outcome: UInt8, Sendable, CaseIterable, CustomStringConvertible {
    /// The solver had no part in it.
    case other = 0
    /// With feedback of what was lost.
    case solved = 1
    /// No damping made the moments positive definite: rounded under their diagonal.
    case rounded = 2
    /// Nothing was known of the inputs: rounded, all columns alike.
    case withoutStates = 3

    /// As documents and tables call it.
    package var description: String {
      switch self {
      case .other: "other"
      case .solved: "solved"
      case .rounded: "rounded"
      case .withoutStates: "without_states"
      }
    }
  }

  /// What is said of one matrix.
  package struct Matrix: Sendable, Equatable {
    package var tokens: Int32 = 0
    package var shrink: Float = 0
    package var damping: Float = 0
    /// λ that were tried.
    package var attempts: UInt8 = 0
    package var outcome = Outcome.other
    /// tr(D H Dᵀ) / tr(W H Wᵀ).
    package var outputError: Float = 0

    package init() {}

    package init(_ matrix: CalibratedMatrix, tokens: Int) {
      let found = matrix.conditioning
      self.tokens = Int32(clamping: tokens)
      shrink = Float(found.shrink)
      damping = Float(found.damping)
      attempts = UInt8(clamping: found.attempts)
      outputError = Float(matrix.relativeOutputError)
      switch found.outcome {
      case .factored: outcome = .solved
      case .notPositiveDefinite: outcome = .rounded
      case .withoutStates: outcome = .withoutStates
      }
    }
  }

  package static let fileName = FileRecord.solutions
  private static let key = "ingot.quantization"
  private static let hashKey = "ingot.states_xxh3"

  /// The hash of the layers' hashes.
  package static func hash(ofLayers layers: [UInt64]) -> UInt64 { CalibrationLayout.hash(of: layers) }

  package let firstLayer: Int
  package let layerCount: Int
  package let expertCount: Int
  /// The hash of the states of all layers.
  package var statesHash: UInt64 = 0
  /// (layers, experts, 3): gate, up, down.
  private var matrices: [Matrix]

  package init(_ sizes: CalibrationDocument.Sizes) {
    self.init(firstLayer: sizes.firstDense, layers: sizes.layers - sizes.firstDense, experts: sizes.experts)
  }

  private init(firstLayer: Int, layers: Int, experts: Int) {
    self.firstLayer = firstLayer
    layerCount = layers
    expertCount = experts
    matrices = Array(repeating: Matrix(), count: 3 * layers * experts)
  }

  /// - Parameter projection: 0 gate, 1 up, 2 down.
  package subscript(layer layer: Int, expert expert: Int, projection projection: Int) -> Matrix {
    get { matrices[((layer - firstLayer) * expertCount + expert) * 3 + projection] }
    set { matrices[((layer - firstLayer) * expertCount + expert) * 3 + projection] = newValue }
  }

  /// What became of each matrix.
  package var outcomes: [Outcome] { matrices.map(\.outcome) }

  /// How many tokens the experts saw that were solved, layer by layer.
  ///
  /// - Parameter columns: of gate and up.
  package func coverage(columns: Int) -> [LayerCoverage] {
    (firstLayer..<firstLayer + layerCount).compactMap { layer in
      let tokens = (0..<expertCount).compactMap { expert in
        (0..<3).map { self[layer: layer, expert: expert, projection: $0] }.first { $0.outcome != .other }?.tokens
      }
      return tokens.isEmpty ? nil : LayerCoverage(layer: layer, tokens: tokens.map { Int($0) }, columns: columns)
    }
  }

  private var tensors: [(description: TensorDescription, bytes: [UInt8])] {
    func tensor(_ name: String, _ dtype: DType, _ bytes: [UInt8]) -> (TensorDescription, [UInt8]) {
      guard let shape = Shape([layerCount, expertCount, 3]) else { preconditionFailure("counts of a model") }
      return (TensorDescription(name: name, dtype: dtype, shape: shape), bytes)
    }
    return [
      tensor("tokens", .i32, matrices.map(\.tokens).littleEndian),
      tensor("shrink", .f32, matrices.map(\.shrink).littleEndian),
      tensor("damping", .f32, matrices.map(\.damping).littleEndian),
      tensor("output_error", .f32, matrices.map(\.outputError).littleEndian),
      tensor("attempts", .u8, matrices.map(\.attempts)), tensor("outcome", .u8, matrices.map(\.outcome.rawValue)),
    ].sorted { SafetensorsHeader.inFileOrder($0.0, $1.0) }
  }

  /// The file; its length follows from the sizes.
  package var bytes: [UInt8] {
    let tensors = tensors
    let header = SafetensorsHeader.build(
      tensors: tensors.map(\.description), metadata: [(Self.key, "1"), (Self.hashKey, XXH3.text(statesHash))])
    return header + tensors.flatMap(\.bytes)
  }

  /// Nil where the bytes are no such file for a model of these sizes.
  ///
  /// - Parameters:
  ///   - layers: all, with experts or without.
  ///   - firstLayer: that has experts.
  package init?(_ bytes: [UInt8], layers: Int, firstLayer: Int, experts: Int) {
    guard (0...layers).contains(firstLayer), experts > 0, layers < 1 << 16, experts < 1 << 24 else { return nil }
    self.init(firstLayer: firstLayer, layers: layers - firstLayer, experts: experts)
    let span = bytes.bytes
    guard
      let header = try? SafetensorsHeader.parse(header: span, fileByteCount: bytes.count, path: Self.fileName),
      header.metadata[Self.key] == "1",
      let hash = header.metadata[Self.hashKey].flatMap(XXH3.parse)
    else { return nil }
    statesHash = hash
    for (description, _) in tensors {
      guard let entry = header[description.name], entry.dtype == description.dtype, entry.shape == description.shape
      else { return nil }
    }
    func place(_ name: String) -> Int { header[name]?.byteRange.lowerBound ?? 0 }
    for index in matrices.indices {
      matrices[index].tokens = span.integer(at: place("tokens") + 4 * index)
      matrices[index].shrink = span.float(at: place("shrink") + 4 * index)
      matrices[index].damping = span.float(at: place("damping") + 4 * index)
      matrices[index].outputError = span.float(at: place("output_error") + 4 * index)
      matrices[index].attempts = bytes[place("attempts") + index]
      guard let outcome = Outcome(rawValue: bytes[place("outcome") + index]) else { return nil }
      matrices[index].outcome = outcome
    }
  }
}
