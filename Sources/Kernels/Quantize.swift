import CKernels
import Tensors

/// How kernels choose the scale of a group: `Formats/encodings.md`, sections 8 and 9.
package enum ScaleRule: Sendable, CaseIterable {
  case absmax, search, searchPositive

  fileprivate var id: Int {
    switch self {
    case .absmax: CK_ABSMAX
    case .search: CK_SEARCH
    case .searchPositive: CK_SEARCH_POSITIVE
    }
  }
}

extension CodeFormat {
  fileprivate func scheme(_ rule: ScaleRule, columns: Int) -> ck_scheme {
    ck_scheme(
      bits: Int32(code.bits), group_size: Int32(groupSize), scale: scaleID,
      solver: Int32(rule.id), row_groups: columns / groupSize)
  }
}

/// Sums of `Formats/encodings.md`, section 10.
package struct QuantizationSums: Sendable, Equatable {
  /// Σ (x − y)² and Σ x².
  package var squaredError = 0.0, squaredWeight = 0.0
  /// Codes at the end of their range.
  package var saturated = 0
  /// Groups whose scale is below the range of their row.
  package var clamped = 0

  package init() {}
}

/// How a quantization ended. The group is the first that cannot be encoded.
package enum QuantizationOutcome: Sendable, Equatable {
  case done
  case notFinite(group: Int)
  case scaleTooLarge(group: Int)
}

extension KernelSet {
  /// Quantizes whole groups: codes and scales exactly as `Formats/encodings.md` defines them, sections 3 to 10.
  ///
  /// - Parameters:
  ///   - x: numbers of type `source`, a whole number of groups.
  ///   - columns: of a row; where each has a base, `x` holds whole rows.
  ///   - codes: (`format.codeByteCount`), overwritten.
  ///   - scales: (`format.scaleByteCount`), overwritten.
  ///   - sums: added to, group by group.
  /// - Returns: where the outcome is not `done`, codes, scales and sums are unspecified.
  @_lifetime(codes: copy codes)
  @_lifetime(scales: copy scales)
  package func quantize(
    _ x: RawSpan, source: FloatFormat, as format: CodeFormat, by rule: ScaleRule, columns: Int,
    codes: inout MutableRawSpan,
    scales: inout MutableRawSpan, sums: inout QuantizationSums
  ) -> QuantizationOutcome {
    let elementCount = x.byteCount / source.byteCount
    let groupCount = elementCount / format.groupSize
    precondition(x.byteCount == groupCount * format.groupSize * source.byteCount)
    precondition(format.scale != .byte || elementCount % columns == 0)
    precondition(codes.byteCount == format.codeByteCount(elements: elementCount))
    precondition(scales.byteCount == format.scaleByteCount(elements: elementCount, columns: columns))
    guard groupCount > 0 else { return .done }
    let scheme = format.scheme(rule, columns: columns)
    return unsafe x.withUnsafeBytes { from in
      unsafe codes.withUnsafeMutableBytes { codes in
        unsafe scales.withUnsafeMutableBytes { scales in
          unsafe quantize(
            from.baseAddress!, source, groupCount, scheme, codes: codes.baseAddress!, scales: scales.baseAddress!, &sums
          )
        }
      }
    }
  }

  private func quantize(
    _ x: UnsafeRawPointer, _ source: FloatFormat, _ groupCount: Int, _ scheme: ck_scheme,
    codes: UnsafeMutableRawPointer, scales: UnsafeMutableRawPointer, _ sums: inout QuantizationSums
  ) -> QuantizationOutcome {
    var scheme = scheme
    var totals = ck_sums(
      squared_error: sums.squaredError, squared_weight: sums.squaredWeight, saturated: UInt64(sums.saturated),
      clamped: UInt64(sums.clamped))
    var badGroup = 0
    let codes = unsafe codes.assumingMemoryBound(to: UInt8.self)
    let status =
      switch source {
      case .bf16: unsafe table.pointee.quantize_bf16(x, groupCount, &scheme, codes, scales, &totals, &badGroup)
      case .f32: unsafe table.pointee.quantize_f32(x, groupCount, &scheme, codes, scales, &totals, &badGroup)
      case .f16: unsafe quantizeF16(x, groupCount, &scheme, codes, scales, &totals, &badGroup)
      }
    sums.squaredError = totals.squared_error
    sums.squaredWeight = totals.squared_weight
    sums.saturated = Int(totals.saturated)
    sums.clamped = Int(totals.clamped)
    return switch Int(status) {
    case CK_OK: .done
    case CK_NOT_FINITE: .notFinite(group: badGroup)
    default: .scaleTooLarge(group: badGroup)
    }
  }

  /// Binary16 is widened in pieces that stay in the first-level cache, of whole rows; the sums go on from piece to piece.
  private func quantizeF16(
    _ x: UnsafeRawPointer, _ groupCount: Int, _ scheme: UnsafePointer<ck_scheme>, _ codes: UnsafeMutablePointer<UInt8>,
    _ scales: UnsafeMutableRawPointer, _ sums: UnsafeMutablePointer<ck_sums>, _ badGroup: UnsafeMutablePointer<Int>
  ) -> Int32 {
    let groupSize = unsafe Int(scheme.pointee.group_size)
    let groupCodeBits = unsafe groupSize * Int(scheme.pointee.bits)
    let hasBases = unsafe Int(scheme.pointee.scale) == CK_SCALE_BYTE
    let rowGroups = hasBases ? unsafe scheme.pointee.row_groups : 1
    let rowScaleBytes = hasBases ? 1 + rowGroups : 2
    let pieceRows = max(1, 4096 / (rowGroups * groupSize))  // 16 KiB of floats
    let capacity = pieceRows * rowGroups * groupSize
    return unsafe withUnsafeTemporaryAllocation(of: Float.self, capacity: capacity) { piece in
      let floats = piece.baseAddress!
      for row in stride(from: 0, to: groupCount / rowGroups, by: pieceRows) {
        let first = row * rowGroups
        let count = min(pieceRows * rowGroups, groupCount - first)
        unsafe table.pointee.widen_f16(x + first * groupSize * 2, count * groupSize, floats)
        let status = unsafe table.pointee.quantize_f32(
          floats, count, scheme, codes + first * groupCodeBits / 8, scales + row * rowScaleBytes, sums, badGroup)
        if Int(status) != CK_OK {
          unsafe badGroup.pointee += first
          return status
        }
      }
      return Int32(CK_OK)
    }
  }

  /// The inverse: `y[i] = float(code[i]) · scale[i / group size]`.
  ///
  /// - Parameters:
  ///   - columns: of a row; where each has a base, `y` takes whole rows.
  ///   - y: a whole number of groups, overwritten.
  @_lifetime(y: copy y)
  package func decode(
    codes: RawSpan, scales: RawSpan, as format: CodeFormat, columns: Int, into y: inout MutableSpan<Float>
  ) {
    let groupCount = y.count / format.groupSize
    precondition(y.count == groupCount * format.groupSize)
    precondition(format.scale != .byte || y.count % columns == 0)
    precondition(codes.byteCount == format.codeByteCount(elements: y.count))
    precondition(scales.byteCount == format.scaleByteCount(elements: y.count, columns: columns))
    guard groupCount > 0 else { return }
    var scheme = format.scheme(.absmax, columns: columns)
    unsafe codes.withUnsafeBytes { codes in
      unsafe scales.withUnsafeBytes { scales in
        unsafe y.withUnsafeMutableBufferPointer { y in
          unsafe table.pointee.decode(
            codes.baseAddress!.assumingMemoryBound(to: UInt8.self), scales.baseAddress!, groupCount, &scheme,
            y.baseAddress!)
        }
      }
    }
  }

  /// The index of the first bf16 scale, from `start` on, that is zero or not portable; nil where there is none.
  package static func firstUnusualScale(_ scales: RawSpan, from start: Int) -> Int? {
    let count = scales.byteCount / 2
    precondition(start >= 0 && start <= count)
    let found = unsafe scales.extracting((2 * start)...).withUnsafeBytes { bytes in
      unsafe ck_first_unusual_scale(bytes.baseAddress, count - start)
    }
    return start + found < count ? start + found : nil
  }

  /// Counts codes by value, adding to `counts`.
  ///
  /// - Parameters:
  ///   - bits: 8 for one code a byte, 4 for two.
  ///   - counts: (256) indexed by code + 128, or (16) indexed by code + 8.
  @_lifetime(counts: copy counts)
  package func histogram(_ codes: RawSpan, bits: Int, counts: inout MutableSpan<UInt64>) {
    precondition(bits == 8 && counts.count == 256 || bits == 4 && counts.count == 16)
    guard !codes.isEmpty else { return }
    unsafe codes.withUnsafeBytes { codes in
      unsafe counts.withUnsafeMutableBufferPointer { counts in
        unsafe table.pointee.histogram(
          codes.baseAddress!.assumingMemoryBound(to: UInt8.self), codes.count, Int32(bits), counts.baseAddress!)
      }
    }
  }
}
