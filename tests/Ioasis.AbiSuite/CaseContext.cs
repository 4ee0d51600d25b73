using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Ioasis.Uapi;

namespace Ioasis.AbiSuite;

/// <summary>
/// What a case works with: the kernel, memory, and the list of what it noted. Every descriptor that it opened through here is
/// closed at its end, in the order of opening, and its memory is freed after that.
/// </summary>
public sealed unsafe class CaseContext(SuiteTarget target)
{
    private readonly List<int> _descriptors = [];
    private readonly List<ClientPages> _memory = [];
    private readonly List<Observation> _notes = [];

    public SuiteTarget Target => target;

    public IKernelAbi Kernel => target.Kernel;

    /// <summary>What is opened as a container: VFIO's own, or <c>/dev/iommu</c> for its compatibility with it.</summary>
    public string ContainerPath { get; set; } = "/dev/vfio/vfio";

    public IReadOnlyList<Observation> Notes => _notes;

    /// <summary>Notes a result: a number, or an error by its name.</summary>
    public int Note(string label, int result)
    {
        _notes.Add(new(label, ErrnoNames.Describe(result)));
        return result;
    }

    /// <summary>Notes a result, and a number that came with it (only with a success).</summary>
    public int Note(string label, int result, ulong value)
    {
        string text = result < 0
            ? ErrnoNames.Describe(result)
            : string.Create(CultureInfo.InvariantCulture, $"{result} 0x{value:x}");
        _notes.Add(new(label, text));
        return result;
    }

    /// <summary>Notes a result and the bytes that it left in a buffer; what was never written is cut off at the end.</summary>
    public int Note(string label, int result, ReadOnlySpan<byte> bytes, byte fill)
    {
        bytes = bytes.TrimEnd(fill);
        _notes.Add(new(label, $"{ErrnoNames.Describe(result)} {Convert.ToHexStringLower(bytes)}".TrimEnd()));
        return result;
    }

    /// <summary>Notes something in words.</summary>
    public void NoteText(string label, string text) => _notes.Add(new(label, text));

    /// <summary>Opens a node without noting it.</summary>
    public int Open(string? path)
    {
        int result = Kernel.Open(path!, OpenFlags.ReadWrite | OpenFlags.CloseOnExec);
        return Own(result);
    }

    /// <summary>Takes over a descriptor that a call gave.</summary>
    public int Own(int result)
    {
        if (result >= 0)
        {
            _descriptors.Add(result);
        }

        return result;
    }

    /// <summary>Closes a descriptor that the context owns.</summary>
    public int Close(int descriptor)
    {
        _ = _descriptors.Remove(descriptor);
        return Kernel.Close(descriptor);
    }

    public int Call<T>(int descriptor, uint request, ref T argument)
        where T : unmanaged =>
        Kernel.Ioctl(descriptor, request, MemoryMarshal.AsBytes(new Span<T>(ref argument)));

    /// <summary>A call of <c>/dev/iommu</c>: sets the size.</summary>
    public int Call<T>(int descriptor, ref T argument)
        where T : unmanaged, ISizedArgument
    {
        Unsafe.As<T, uint>(ref argument) = (uint)Unsafe.SizeOf<T>();
        return Call(descriptor, T.Request, ref argument);
    }

    /// <summary>Memory of the client, in whole pages, readable and writable, zero.</summary>
    public ClientPages Pages(int count)
    {
        ClientPages pages = new((nuint)count * 4096);
        _memory.Add(pages);
        return pages;
    }

    internal void Finish()
    {
        foreach (int descriptor in _descriptors)
        {
            _ = Kernel.Close(descriptor);
        }

        foreach (ClientPages pages in _memory)
        {
            pages.Dispose();
        }
    }
}

/// <summary>Something that a case noted.</summary>
/// <param name="Label">What was done.</param>
/// <param name="Value">What came back.</param>
public readonly record struct Observation(string Label, string Value)
{
    /// <inheritdoc/>
    public override string ToString() => new StringBuilder(Label).Append(": ").Append(Value).ToString();
}
