package import Kernels

/// What an expert is fed and what it feeds its last product, from the weights in full precision.
package enum ExpertStates {
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
