package import Kernels
import Safetensors
package import Storage
import Tensors

// Codes and scales as the numbers that they stand for.

extension PackedCodes {
  /// Writes the numbers that some rows stand for: f32, in which scale · code is exact, or bf16, to which that is rounded once.
  ///
  /// - Parameter numbers: of so many bytes, overwritten from its start.
  package func write(
    _ rows: Range<Int>, as format: FloatFormat, into numbers: inout AlignedBuffer, kernels: KernelSet = .best
  ) {
    let columns = shape.columns
    let rowCodeByteCount = columns * bits / 8
    var plane = AlignedBuffer(byteCount: rows.count * rowCodeByteCount)
    var target = plane.mutableBytes
    writeCodes(rows, &target)
    var factors: [Factor] = []
    factors.reserveCapacity(rows.count * groupCount)
    forEachFactor(rows) { _, _, factor in factors.append(factor) }
    let groups = order.map { order in
      let bytes = order.file.bytes(of: order.entry)
      return (0..<columns).map { Int(bytes.integer(at: 4 * $0, as: Int32.self)) }
    }
    // Codes become floats as those of groups whose scale is 1.
    let codeFormat = CodeFormat(bits == 4 ? .int4 : .int8, groupSize: 32)
    let ones: [UInt8] = (0..<columns / 32).flatMap { _ in [0x80, 0x3F] }
    let half = 1 << (bits - 1)
    var values = [Float](repeating: 0, count: columns)
    var out = numbers.mutableBytes
    for row in 0..<rows.count {
      var all = values.mutableSpan
      kernels.decode(
        codes: plane.bytes.extracting(row * rowCodeByteCount..<(row + 1) * rowCodeByteCount), scales: ones.bytes,
        as: codeFormat, columns: columns, into: &all)
      func number(_ code: Float, _ factor: Factor) -> Float {
        factor.scale * (code + Float(half - factor.zero)) + factor.bias
      }
      if let groups {
        for column in 0..<columns {
          values[column] = number(values[column], factors[row * groupCount + groups[column]])
        }
      } else {
        for group in 0..<groupCount {
          let factor = factors[row * groupCount + group]
          for column in group * groupSize..<(group + 1) * groupSize {
            values[column] = number(values[column], factor)
          }
        }
      }
      if format == .f32 {
        unsafe out.write(values.span.bytes, at: 4 * row * columns)
      } else {
        for column in 0..<columns {
          out.storeBytes(
            of: BFloat16.narrow(values[column]).littleEndian, toByteOffset: 2 * (row * columns + column),
            as: UInt16.self)
        }
      }
    }
  }
}
