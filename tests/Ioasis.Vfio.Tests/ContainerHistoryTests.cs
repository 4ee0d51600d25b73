using FsCheck;
using FsCheck.Fluent;
using Ioasis.Core;
using Ioasis.Kernel.Tests;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Vfio.Tests;

/// <summary>
/// A container against a bitmap of pages: groups with random apertures and reserved regions come and go, mappings too. The
/// model knows only sets; every answer and every range must be what it says.
/// </summary>
public sealed class ContainerHistoryTests
{
    // The pages of the model: 48 at the bottom of the address space, 48 at the top; what is between them is one page more.
    private const int Half = 48;
    private const int Pages = (2 * Half) + 1;

    private static ulong StartOf(int page) => page switch
    {
        < Half => (ulong)page << 12,
        Half => (ulong)Half << 12,
        _ => ulong.MaxValue - ((ulong)(Pages - page) << 12) + 1,
    };

    private static ulong LastOf(int page) => page == Pages - 1 ? ulong.MaxValue : StartOf(page + 1) - 1;

    private static AddressRange RangeOf(int first, int last) => new(StartOf(first), LastOf(last));

    private static List<AddressRange> RangesOf(bool[] pages)
    {
        List<AddressRange> ranges = [];
        for (int i = 0; i < Pages; i++)
        {
            if (!pages[i])
            {
                continue;
            }

            int first = i;
            while (i + 1 < Pages && pages[i + 1])
            {
                i++;
            }

            ranges.Add(RangeOf(first, i));
        }

        return ranges;
    }

    private sealed class Group
    {
        public required IommuDevice Device { get; init; }

        public required AddressRange Aperture { get; init; }

        public required bool[] Usable { get; init; }

        public required int Descriptor { get; init; }

        public bool IsIn { get; set; }
    }

    private sealed class World
    {
        private readonly Random _random;
        private readonly FakeIommu _iommu;
        private readonly Type1 _type1;
        private readonly List<Group> _groups = [];
        private readonly SortedDictionary<int, int> _mappings = [];
        private readonly bool _isVersion2;

        public World(int seed)
        {
            _random = new(seed);

            // Each device has a format of its own, so each group has a domain of its own with its own aperture.
            _iommu = new() { FormatOf = static device => (int)device.Id.Value };
            _isVersion2 = _random.Next(3) > 0;
            _type1 = new(new(iommu: _iommu), _isVersion2 ? VfioExtension.Type1V2 : VfioExtension.Type1);
            int count = _random.Next(2, 5);
            for (int i = 0; i < count; i++)
            {
                AddGroup();
            }

            // The first group makes the address space.
            Group first = _groups[0];
            _type1.Join(first.Descriptor).ShouldBe(Errno.Success);
            _iommu.Aperture = first.Aperture;
            _type1.SetIommu().ShouldBe(Errno.Success);
            first.IsIn = true;
        }

        public void Step()
        {
            switch (_random.Next(6))
            {
                case 0 or 1:
                    ComeOrGo(_groups[_random.Next(_groups.Count)]);
                    break;
                case 2:
                    Unmap();
                    break;
                default:
                    Map();
                    break;
            }

            Check();
        }

        public void End()
        {
            _type1.Rig.Kernel.CloseAll();
            _type1.Rig.ShouldBeClean();
        }

        private bool[] Usable()
        {
            bool[] usable = [.. Enumerable.Repeat(true, Pages)];
            foreach (Group group in _groups.Where(static group => group.IsIn))
            {
                for (int i = 0; i < Pages; i++)
                {
                    usable[i] &= group.Usable[i];
                }
            }

            return usable;
        }

        private void AddGroup()
        {
            // The first group leaves something usable in any case.
            bool isFirst = _groups.Count == 0;
            (int first, int last) = _random.Next(3) == 0 ? Pick(24) : (0, Pages - 1);
            AddressRange aperture = isFirst ? AddressRange.All : RangeOf(first, last);
            bool[] usable = new bool[Pages];
            for (int i = 0; i < Pages; i++)
            {
                usable[i] = aperture.Contains(StartOf(i));
            }

            List<ReservedRegion> regions = [];
            for (int n = _random.Next(isFirst ? 2 : 5); n > 0; n--)
            {
                (int from, int to) = Pick(6);
                regions.Add(new(
                    RangeOf(from, to), _random.Next(2) == 0 ? ReservedRegionKind.Msi : ReservedRegionKind.Reserved));
                for (int i = from; i <= to; i++)
                {
                    usable[i] = false;
                }
            }

            int descriptor = _type1.OpenGroup([.. regions.OrderBy(_ => _random.Next())], out IommuDevice device);
            _groups.Add(new()
            {
                Device = device,
                Aperture = aperture,
                Usable = usable,
                Descriptor = descriptor,
            });
        }

        private (int First, int Last) Pick(int most)
        {
            int first = _random.Next(Pages);
            return (first, Math.Min(Pages - 1, first + _random.Next(most)));
        }

        private void ComeOrGo(Group group)
        {
            if (group.IsIn)
            {
                // The last one out would end the address space.
                if (_groups.Count(static entry => entry.IsIn) > 1)
                {
                    _type1.Leave(group.Descriptor).ShouldBe(Errno.Success);
                    group.IsIn = false;
                }

                return;
            }

            bool[] left = Usable();
            for (int i = 0; i < Pages; i++)
            {
                left[i] &= group.Usable[i];
            }

            bool fits = left.Any(static page => page)
                && _mappings.All(mapping => Enumerable.Range(mapping.Key, mapping.Value - mapping.Key + 1).All(page => group.Usable[page]));
            _iommu.Aperture = group.Aperture;
            int domains = _iommu.Domains.Count;
            int pinned = _type1.Rig.Memory.PinnedPages;
            _type1.Join(group.Descriptor).ShouldBe(fits ? Errno.Success : Errno.InvalidArgument);
            if (fits)
            {
                group.IsIn = true;
            }
            else
            {
                // Nothing has changed (S3.2, S3.3).
                _iommu.DomainOf(group.Device).ShouldBe(BlockedDomain.Instance);
                _iommu.Domains.Count.ShouldBe(domains);
                _type1.Rig.Memory.PinnedPages.ShouldBe(pinned);
            }
        }

        private void Map()
        {
            (int first, int last) = Pick(4);
            if (first <= Half && last >= Half)
            {
                return;
            }

            bool[] usable = Usable();
            IEnumerable<int> pages = Enumerable.Range(first, last - first + 1);
            bool overlaps = _mappings.Any(mapping => mapping.Key <= last && mapping.Value >= first);
            Errno expected = overlaps ? Errno.Exists : pages.All(page => usable[page]) ? Errno.Success : Errno.InvalidArgument;
            _type1.Map(FakeUserMemory.Start + ((ulong)_random.Next(64) << 12), StartOf(first), (ulong)(last - first + 1) << 12)
                .ShouldBe(expected);
            if (expected == Errno.Success)
            {
                _mappings.Add(first, last);
            }
        }

        private void Unmap()
        {
            (int first, int last) = Pick(8);
            if (first <= Half && last >= Half)
            {
                return;
            }

            List<KeyValuePair<int, int>> touched =
                [.. _mappings.Where(mapping => mapping.Key <= last && mapping.Value >= first)];
            bool cutsFirst = touched.Exists(mapping => mapping.Key < first);
            bool cutsLast = touched.Exists(mapping => mapping.Value > last);
            Errno error = _type1.Unmap(StartOf(first), (ulong)(last - first + 1) << 12, out ulong unmapped);
            if (_isVersion2 && (cutsFirst || cutsLast))
            {
                error.ShouldBe(Errno.InvalidArgument);
                return;
            }

            error.ShouldBe(Errno.Success);
            List<KeyValuePair<int, int>> gone = cutsFirst ? [] : touched;
            unmapped.ShouldBe((ulong)gone.Sum(static mapping => mapping.Value - mapping.Key + 1) << 12);
            gone.ForEach(mapping => _mappings.Remove(mapping.Key).ShouldBeTrue());
        }

        private void Check()
        {
            _type1.GetRanges(out uint available).ShouldBe(RangesOf(Usable()));
            available.ShouldBe(65535u - (uint)_mappings.Count);
            int pages = _mappings.Sum(static mapping => mapping.Value - mapping.Key + 1);
            _iommu.Domains.Count.ShouldBe(_groups.Count(static group => group.IsIn));
            foreach (FakeDomain domain in _iommu.Domains)
            {
                domain.MappedPages.ShouldBe(pages);
            }
        }
    }

    [Fact]
    [Trait("Requirement", "S3.1")]
    [Trait("Requirement", "S3.2")]
    [Trait("Requirement", "S3.3")]
    [Trait("Requirement", "S3.4")]
    [Trait("Requirement", "S3.5")]
    [Trait("Requirement", "S3.6")]
    [Trait("Requirement", "S3.12")]
    public void Any_history_of_groups_and_mappings_is_what_a_bitmap_says() =>
        Prop.ForAll(ArbMap.Default.ArbFor<int>(), static seed =>
        {
            World world = new(seed);
            for (int i = 0; i < 60; i++)
            {
                world.Step();
            }

            world.End();
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(
            string.Equals(Environment.GetEnvironmentVariable("IOASIS_TEST_ALL"), "1", StringComparison.Ordinal) ? 5000 : 250));
}
