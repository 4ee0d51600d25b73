using System.Globalization;
using Ioasis.Intel.Architecture;

namespace Ioasis.Lab.Qemu.Tests.Vtd.Model;

/// <summary>What stands in the memory that tables are made in, by doubleword; all others are 0.</summary>
internal sealed class TableImage
{
    public const ulong Start = 0x0100_0000;
    public const int MaxPages = 256;

    private readonly SortedDictionary<ulong, ulong> _words = [];
    private int _pages;

    /// <summary>Doublewords that are not 0, in order of address.</summary>
    public IReadOnlyDictionary<ulong, ulong> Words => _words;

    /// <summary>Where PASID-table entries are.</summary>
    public HashSet<ulong> PasidEntries { get; } = [];

    /// <summary>Where the pages that were given out end.</summary>
    public ulong End => Start + ((ulong)_pages * LabRig.Page);

    /// <summary>Whether there is room for a small table of all levels.</summary>
    public bool HasRoom => _pages + 8 < MaxPages;

    public ulong NewPage() => Start + ((ulong)_pages++ * LabRig.Page);

    public ulong this[ulong address]
    {
        get => _words.GetValueOrDefault(address);
        set => _words[address] = value;
    }

    /// <summary>The entries that a request meets, as far as they can be followed, whatever their rights.</summary>
    public TablePath Follow(VtdTables kind, ushort source, ulong iova)
    {
        bool isLegacy = kind is VtdTables.Legacy3 or VtdTables.Legacy4;
        ulong root = Start + ((ulong)(source >> 8) * RootEntry.Size);
        ulong half = !isLegacy && (source & 0x80) != 0 ? 8ul : 0;
        ulong context = AddressIn(root + half)
            + (isLegacy ? (ulong)(source & 0xff) * ContextEntry.Size : (ulong)(source & 0x7f) * ScalableContextEntry.Size);
        TablePath path = new()
        {
            Root = this[root + half],
            OtherRoot = this[root + (half ^ 8)],
            Context = this[context],
            ContextHigh = this[context + 8],
            IsUnchanged = isLegacy && ((this[context] >> ContextEntry.TranslationTypeShift) & 3) == (ulong)ContextTranslationType.PassThrough,
        };
        ulong table = AddressIn(context);
        int levels = 2 + (int)(path.ContextHigh & ContextEntry.HighAddressWidthMask);
        if (!isLegacy)
        {
            ulong entry = AddressIn(table);
            path = path with
            {
                Directory = this[table],
                Pasid = this[entry],
                IsUnchanged = ((this[entry] >> PasidTableEntry.Word0TranslationTypeShift) & 7) == (ulong)PasidTranslationType.PassThrough,
            };
            table = kind == VtdTables.FirstStage ? AddressIn(entry + 16) : AddressIn(entry);
            levels = kind == VtdTables.FirstStage ? 4 : 2 + (int)((this[entry] >> PasidTableEntry.Word0AddressWidthShift) & 7);
        }

        for (int level = levels; level >= 1 && table != 0; level--)
        {
            ulong word = this[table + (((iova >> (12 + (9 * (level - 1)))) & 0x1ff) * 8)];
            path.Entries.Add(word);
            table = level > 3 || (word & SecondStageEntry.PageSizeBit) == 0 ? word & SecondStageEntry.AddressMask : 0;
        }

        return path;
    }

    private ulong AddressIn(ulong place) => this[place] & SecondStageEntry.AddressMask;
}

/// <summary>Entries on the way of a request. The others that a kind of tables does not have are 0.</summary>
internal sealed record TablePath
{
    /// <summary>The root entry, in scalable mode the half that counts.</summary>
    public ulong Root { get; init; }

    /// <summary>The half of it that does not count.</summary>
    public ulong OtherRoot { get; init; }

    public ulong Context { get; init; }

    public ulong ContextHigh { get; init; }

    public ulong Directory { get; init; }

    /// <summary>The first doubleword of the PASID-table entry.</summary>
    public ulong Pasid { get; init; }

    /// <summary>Whether addresses pass unchanged.</summary>
    public bool IsUnchanged { get; init; }

    /// <summary>Entries of the page tables, from the root on.</summary>
    public List<ulong> Entries { get; } = [];

    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"root {Root:x16} ({OtherRoot:x16}), context {Context:x16} {ContextHigh:x16}, directory {Directory:x16}, PASID {Pasid:x16}, entries ")
        + string.Join(' ', Entries.Select(static entry => entry.ToString("x16", CultureInfo.InvariantCulture)));
}
