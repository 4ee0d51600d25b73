using Ioasis.Primitives;

namespace Ioasis.PageTables.Formats;

// Each format is a structure with a name, and not one with type parameters for its numbers, so that a stack trace and a
// profile name the format.

/// <summary>First stage, 32-bit IOVAs, which are not sign-extended: all 4 GiB can be mapped.</summary>
internal readonly struct Sv32 : IRiscVFirstStageFormat
{
    /// <inheritdoc/>
    public static string Name => nameof(Sv32);

    /// <inheritdoc/>
    public static int Levels => 2;

    /// <inheritdoc/>
    public static int ApertureBits => 32;

    /// <inheritdoc/>
    public static int IndexBits => 10;

    /// <inheritdoc/>
    public static int RootIndexBits => 10;

    /// <inheritdoc/>
    public static int EntrySizeLog2 => 2;

    /// <inheritdoc/>
    public static int OutputBits => 34;

    /// <inheritdoc/>
    public static int ContiguousLog2 => 0;

    /// <inheritdoc/>
    public static ulong ContiguousBit => 0;

    /// <inheritdoc/>
    public static Errno TryConfigure(PageTableOptions options, out FormatSettings settings) =>
        RiscVEntry.TryConfigure(options, options.UserPages, hasExtensions: false, out settings);
}

/// <summary>First stage. IOVA bits 63:39 must equal bit 38, so the aperture is the lower half, [0, 2^38 - 1].</summary>
internal readonly struct Sv39 : IRiscVFirstStageFormat
{
    /// <inheritdoc/>
    public static string Name => nameof(Sv39);

    /// <inheritdoc/>
    public static int Levels => 3;

    /// <inheritdoc/>
    public static int ApertureBits => 38;
}

/// <summary>First stage. IOVA bits 63:48 must equal bit 47, so the aperture is the lower half, [0, 2^47 - 1].</summary>
internal readonly struct Sv48 : IRiscVFirstStageFormat
{
    /// <inheritdoc/>
    public static string Name => nameof(Sv48);

    /// <inheritdoc/>
    public static int Levels => 4;

    /// <inheritdoc/>
    public static int ApertureBits => 47;
}

/// <summary>First stage. IOVA bits 63:57 must equal bit 56, so the aperture is the lower half, [0, 2^56 - 1].</summary>
internal readonly struct Sv57 : IRiscVFirstStageFormat
{
    /// <inheritdoc/>
    public static string Name => nameof(Sv57);

    /// <inheritdoc/>
    public static int Levels => 5;

    /// <inheritdoc/>
    public static int ApertureBits => 56;
}

/// <summary>Second stage: guest physical addresses of 34 bits, zero-extended; a root of 16 KiB.</summary>
internal readonly struct Sv32x4 : IRiscVSecondStageFormat
{
    /// <inheritdoc/>
    public static string Name => nameof(Sv32x4);

    /// <inheritdoc/>
    public static int Levels => 2;

    /// <inheritdoc/>
    public static int ApertureBits => 34;

    /// <inheritdoc/>
    public static int IndexBits => 10;

    /// <inheritdoc/>
    public static int RootIndexBits => 12;

    /// <inheritdoc/>
    public static int EntrySizeLog2 => 2;

    /// <inheritdoc/>
    public static int OutputBits => 34;

    /// <inheritdoc/>
    public static int ContiguousLog2 => 0;

    /// <inheritdoc/>
    public static ulong ContiguousBit => 0;

    /// <inheritdoc/>
    public static Errno TryConfigure(PageTableOptions options, out FormatSettings settings) =>
        RiscVEntry.TryConfigure(options, true, hasExtensions: false, out settings);
}

/// <summary>Second stage: guest physical addresses of 41 bits, zero-extended; a root of 16 KiB.</summary>
internal readonly struct Sv39x4 : IRiscVSecondStageFormat
{
    /// <inheritdoc/>
    public static string Name => nameof(Sv39x4);

    /// <inheritdoc/>
    public static int Levels => 3;

    /// <inheritdoc/>
    public static int ApertureBits => 41;
}

/// <summary>Second stage: guest physical addresses of 50 bits, zero-extended; a root of 16 KiB.</summary>
internal readonly struct Sv48x4 : IRiscVSecondStageFormat
{
    /// <inheritdoc/>
    public static string Name => nameof(Sv48x4);

    /// <inheritdoc/>
    public static int Levels => 4;

    /// <inheritdoc/>
    public static int ApertureBits => 50;
}

/// <summary>Second stage: guest physical addresses of 59 bits, zero-extended; a root of 16 KiB.</summary>
internal readonly struct Sv57x4 : IRiscVSecondStageFormat
{
    /// <inheritdoc/>
    public static string Name => nameof(Sv57x4);

    /// <inheritdoc/>
    public static int Levels => 5;

    /// <inheritdoc/>
    public static int ApertureBits => 59;
}
