namespace Ioasis.PageTables.Formats;

/// <summary>The formats of this folder: a new one is a file, and its name here.</summary>
internal static class KnownFormats
{
    /// <summary>All of them.</summary>
    public static IReadOnlyList<PageTableFormat> All { get; } =
    [
        PageTableFormat.Of<Sv32>(), PageTableFormat.Of<Sv39>(), PageTableFormat.Of<Sv48>(), PageTableFormat.Of<Sv57>(),
        PageTableFormat.Of<Sv32x4>(), PageTableFormat.Of<Sv39x4>(), PageTableFormat.Of<Sv48x4>(), PageTableFormat.Of<Sv57x4>(),
        PageTableFormat.Of<X64Level4>(), PageTableFormat.Of<X64Level5>(),
        PageTableFormat.Of<VtdStage2Level3>(), PageTableFormat.Of<VtdStage2Level4>(), PageTableFormat.Of<VtdStage2Level5>(),
    ];
}
