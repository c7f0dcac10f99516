package import Kernels

/// The moments of what an expert's products are fed: gate and up share theirs, down has its own.
package struct ExpertMoments: ~Copyable, Sendable {
  /// Columns of gate and up, and their rows, which are the columns of down.
  package let columns: Int, rows: Int
  private var outer: Moments
  private var inner: Moments

  package init(columns: Int, rows: Int) {
    self.columns = columns
    self.rows = rows
    outer = Moments(columns: columns)
    inner = Moments(columns: rows)
  }

  /// How many tokens' hidden states are held at a time.
  private static let piece = 1024

  /// Adds the next tokens that were routed here, in any pieces.
  ///
  /// - Parameters:
  ///   - states: the expert's inputs, (weights.count, columns) bf16 or f32.
  ///   - weights: ω of each token, ``weight(ofClass:router:)``.
  ///   - gate, up: (rows, columns) in full precision.
  package mutating func add(
    _ states: RawSpan, as format: FloatFormat, weights: Span<Float>, gate: Span<Float>, up: Span<Float>,
    kernels: KernelSet, threads: Int = 1
  ) {
    outer.add(states, as: format, weights: weights, kernels: kernels, threads: threads)
    addInner(states, as: format, weights: weights, gate: gate, up: up, kernels: kernels, threads: threads)
  }

  /// The same for what down is fed alone.
  package mutating func addInner(
    _ states: RawSpan, as format: FloatFormat, weights: Span<Float>, gate: Span<Float>, up: Span<Float>,
    kernels: KernelSet, threads: Int = 1
  ) {
    let rowByteCount = columns * format.byteCount
    for start in stride(from: 0, to: weights.count, by: Self.piece) {
      let end = min(start + Self.piece, weights.count)
      let hidden = Self.hidden(
        states.extracting(start * rowByteCount..<end * rowByteCount), as: format, tokens: end - start, gate: gate,
        up: up, rows: rows, columns: columns, kernels: kernels, threads: threads)
      unsafe inner.add(
        hidden.span.bytes, as: .f32, weights: weights.extracting(start..<end), kernels: kernels, threads: threads)
    }
  }

  /// Ends the adding: the moments of what down was fed.
  package consuming func shareInner() -> LayerMoments { inner.share() }

  /// Ends the adding.
  ///
  /// - Parameters:
  ///   - layer: the moments of all tokens of the layer as gate and up are fed them; nil where there are none.
  ///   - emptyInner: what down takes in an expert without tokens: what it would be fed by all tokens of the layer.
  package consuming func condition(
    layer: LayerMoments?, emptyInner: LayerMoments? = nil, kernels: KernelSet, threads: Int = 1
  ) throws(CalibrationError) -> ConditionedExpert {
    let prior = layer.map { MomentPrior.layer($0) } ?? .none
    let outer = try ConditionedMoments(outer, prior: prior, kernels: kernels, threads: threads)
    let inner = try ConditionedMoments(inner, prior: .ridge(empty: emptyInner), kernels: kernels, threads: threads)
    return ConditionedExpert(outer: outer, inner: inner)
  }

  /// `silu(Wg z) · (Wu z)` for each token, as chains over the columns: `Formats/solver.md`, section 2.
  ///
  /// - Parameters:
  ///   - states: (tokens, columns) bf16 or f32.
  ///   - gate, up: (rows, columns).
  /// - Returns: (tokens, rows).
  package static func hidden(
    _ states: RawSpan, as format: FloatFormat, tokens: Int, gate: Span<Float>, up: Span<Float>, rows: Int,
    columns: Int, kernels: KernelSet, threads: Int = 1
  ) -> [Float] {
    var hidden = kernels.chainedProduct(
      of: states, as: format, tokens: tokens, with: gate, rows: rows, columns: columns, threads: threads)
    let factor = kernels.chainedProduct(
      of: states, as: format, tokens: tokens, with: up, rows: rows, columns: columns, threads: threads)
    kernels.chainedGate(&hidden, factor)
    return hidden
  }

  /// ω of a token: its class's weight times the square of its router weight, each product rounded.
  package static func weight(ofClass weight: Float, router: Float) -> Float { weight * (router * router) }
}

/// What an expert's matrices are solved with, at any encodings: `outer` for gate and up, `inner` for down.
package struct ConditionedExpert: Sendable {
  package let outer: ConditionedMoments
  package let inner: ConditionedMoments
}
