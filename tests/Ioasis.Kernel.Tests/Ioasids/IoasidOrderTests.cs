using FsCheck;
using FsCheck.Fluent;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;
using PasidSet = Ioasis.Client.PasidSet;

namespace Ioasis.Kernel.Tests.Ioasids;

/// <summary>Calls in any order, closes in any order, failures at any step.</summary>
public sealed class IoasidOrderTests
{
    // Below the quota of the set, numbers included that a device is still to let go of.
    private const int MostNumbers = 8;

    private enum Step
    {
        Bind,
        Unbind,
        Allow0,
        Allow1,
        Disallow0,
        Disallow1,
        Free,
        Allocate,
        Clear,
        Close0,
        Close1,
        Reopen0,
        Reopen1,

        // The descriptor of the IOASIDs themselves.
        CloseFile,
        ReopenFile,

        // What follows is about another of the numbers that there were.
        Turn,
    }

    [Fact]
    [Trait("Requirement", "S1.10")]
    public void Table_authorise_de_authorise_destroy_works() =>
        Play(Step.Allocate, Step.Bind, Step.Allow0, Step.Disallow0, Step.Free);

    [Fact]
    [Trait("Requirement", "S1.10")]
    public void Authorise_before_the_table_works() =>
        Play(Step.Allocate, Step.Allow0, Step.Bind, Step.Disallow0, Step.Free);

    [Fact]
    [Trait("Requirement", "S1.10")]
    public void A_number_that_a_device_is_to_let_go_of_is_not_given_out_meanwhile() =>
        Play(Step.Allocate, Step.Allow0, Step.Free, Step.Allocate, Step.Turn, Step.Disallow0, Step.Allocate);

    [Fact]
    [Trait("Requirement", "S1.10")]
    public void Every_device_closed_and_then_the_rest_works() =>
        Play(Step.Allocate, Step.Bind, Step.Allow0, Step.Allow1, Step.Close0, Step.Close1, Step.Unbind, Step.Free, Step.Allocate, Step.Reopen1, Step.Allow1, Step.Bind);

    [Fact]
    [Trait("Requirement", "S1.10")]
    public void The_descriptor_closed_first_works() =>
        Play(Step.Allocate, Step.Bind, Step.Allow0, Step.CloseFile, Step.Allow1, Step.ReopenFile, Step.Allocate, Step.Bind, Step.Turn, Step.Disallow0, Step.Close0, Step.Free);

    [Fact]
    [Trait("Requirement", "S1.10")]
    [Trait("Requirement", "S1.12")]
    public void Any_order_is_safe_and_DMA_reaches_memory_exactly_when_both_were_given()
    {
        Gen<Step[]> steps = Gen.Elements(Enum.GetValues<Step>()).ArrayOf(40);
        Prop.ForAll(steps.ToArbitrary(), Play).Check(Config.QuickThrowOnFailure.WithMaxTest(ExplorerOptions.All ? 20_000 : 400));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S1.15")]
    public void Closing_in_any_order_undoes_everything(bool viaDuplicate)
    {
        int[][] orders = [.. Permutations([0, 1, 2, 3, 4])];
        foreach (int[] order in orders)
        {
            IoasidRig rig = new();
            PasidHandle a = rig.Set.Allocate(), b = rig.Set.Allocate(new() { Guest = new(4) });
            VirtualMachinePasids machine = rig.Pasids.CreateVirtualMachine();
            a.Bind(rig.Space);
            rig.Devices[0].Allow(a);
            rig.Devices[0].Allow(b);
            rig.Devices[1].Allow(a);
            b.Bind(rig.Space);
            machine.Map(new(4), b);
            rig.Rig.Kernel.TryGetVmPasidTable(machine.Descriptor.Number, out VmPasidTable? table).ShouldBeTrue();
            int[] descriptors =
            [
                rig.Fd, rig.Iommu.Descriptor.Number, rig.Devices[0].Descriptor.Number, rig.Devices[1].Descriptor.Number,
                machine.Descriptor.Number,
            ];
            foreach (int index in order)
            {
                if (viaDuplicate)
                {
                    // A duplicate keeps everything until it goes too.
                    int copy = rig.Rig.Kernel.Dup(descriptors[index]);
                    rig.Rig.Kernel.Close(descriptors[index]).ShouldBe(0);
                    descriptors[index] = copy;
                }

                rig.Rig.Kernel.Close(descriptors[index]).ShouldBe(0);
                if (index == 0)
                {
                    // DMA stops with the descriptor, whoever else is left.
                    (rig.Reaches(0, a.Pasid), rig.Reaches(1, a.Pasid), rig.Reaches(0, b.Pasid)).ShouldBe((false, false, false));
                    table!.TryTranslate(new(4), out _).ShouldBeFalse();
                }
            }

            table!.Count.ShouldBe(0);
            rig.ShouldBeClean();
        }
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void The_death_of_the_process_undoes_everything()
    {
        IoasidRig rig = new();
        PasidHandle[] all = [.. Enumerable.Range(0, 10).Select(_ => rig.Set.Allocate())];
        VirtualMachinePasids machine = rig.Pasids.CreateVirtualMachine();
        for (int i = 0; i < all.Length; i++)
        {
            all[i].Bind(rig.Space);
            rig.Devices[i & 1].Allow(all[i]);
            machine.Map(new((uint)i), all[i]);
        }

        rig.Rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }

    [Fact]
    [Trait("Requirement", "S0.14")]
    public void A_failure_at_any_step_of_any_call_leaves_nothing()
    {
        int steps = FailAtEveryStep.Run(
            static () => new IoasidRig(),
            static rig =>
            {
                Errno error = PasidFd.OpenErrno(rig.Rig.Kernel, out PasidFd? pasids);
                PasidSet? set = null;
                PasidHandle? pasid = null;
                VirtualMachinePasids? machine = null;
                Errno Then(Func<Errno> next) => error = error == Errno.Success ? next() : error;
                _ = Then(() => pasids!.CreateSetErrno(3, out set));
                _ = Then(() => set!.AllocateErrno(new() { Guest = new(1) }, out pasid));
                _ = Then(() => rig.Devices[0].AllowErrno(pasid!));
                _ = Then(() => pasid!.BindErrno(rig.Space));
                _ = Then(() => rig.Devices[1].AllowErrno(pasid!));
                _ = Then(() => pasids!.CreateVirtualMachineErrno(out machine));
                _ = Then(() => machine!.MapErrno(new(1), pasid!));
                return error;
            },
            static (rig, result, step) =>
            {
                result.ShouldBe(step == 0 ? Errno.Success : Errno.OutOfMemory);
                rig.Rig.Kernel.CloseAll();
                rig.ShouldBeClean();
            });
        steps.ShouldBeGreaterThan(10);
    }

    private static IEnumerable<int[]> Permutations(int[] items) =>
        items.Length == 1
            ? [items]
            : items.SelectMany(first => Permutations([.. items.Where(item => item != first)]).Select(rest => (int[])[first, .. rest]));

    // Beside a model: which numbers there are, which have memory bound, which devices may use them and which are still to let go of them.
    private static void Play(params Step[] steps)
    {
        IoasidRig rig = new();
        (int file, uint set) = OpenFile(rig);
        bool isOpen = true;
        SortedDictionary<uint, Number> numbers = [];
        uint current = 0;
        bool[] open = [true, true];
        int[] devices = [rig.Devices[0].Descriptor.Number, rig.Devices[1].Descriptor.Number];
        Errno Of(Errno error) => isOpen ? error : Errno.BadDescriptor;

        void Close(int device)
        {
            // The number may be another's next.
            rig.Devices[device].Dispose();
            (open[device], devices[device]) = (false, -1);
            foreach (Number number in numbers.Values)
            {
                (number.Allowed[device], number.Parked[device]) = (false, false);
            }
        }

        void Reopen(int device)
        {
            rig.Devices[device] = VfioDevice.Open(rig.Rig.Kernel, rig.Paths[device]);
            _ = rig.Devices[device].Bind(rig.Iommu);
            (open[device], devices[device]) = (true, rig.Devices[device].Descriptor.Number);
        }

        foreach (Step step in steps)
        {
            Number now = numbers.GetValueOrDefault(current) ?? new();
            switch (step)
            {
                case Step.Allocate when isOpen && numbers.Values.Count(static number => number.IsTaken) < MostNumbers:
                    IoasidAlloc alloc = new() { SetId = set, Flags = IoasidAllocFlags.LowestFirst };
                    rig.Rig.Call(file, ref alloc).ShouldBe(0);
                    current = alloc.OutIoasid;

                    // The lowest of those that nobody has and no device is to let go of.
                    uint lowest = 1;
                    while (numbers.TryGetValue(lowest, out Number? other) && other.IsTaken)
                    {
                        lowest++;
                    }

                    current.ShouldBe(lowest);
                    numbers[current] = new() { Live = true };
                    break;
                case Step.Bind:
                    IoasidBind bind = new()
                    {
                        Ioasid = current, Kind = IoasidBindKind.Ioas, Iommufd = rig.Iommu.Descriptor.Number, ObjectId = rig.Space.Id,
                    };
                    rig.Rig.Call(file, ref bind).ShouldBe(-(int)Of(!now.Live ? Errno.NoEntry : now.Bound ? Errno.Busy : Errno.Success));
                    now.Bound = now.Live;
                    break;
                case Step.Unbind:
                    rig.Raw(file, new IoasidUnbind { Ioasid = current }).ShouldBe(-(int)Of(now.Bound ? Errno.Success : Errno.NoEntry));
                    now.Bound = false;
                    break;
                case Step.Allow0 or Step.Allow1:
                    int at = step - Step.Allow0;
                    rig.Raw(devices[at], new IoasidDeviceAllow { IoasidFd = file, Ioasid = current }).ShouldBe(-(int)(
                        !open[at] ? Errno.BadDescriptor : Of(!now.Live ? Errno.NoEntry : now.Allowed[at] ? Errno.Exists : Errno.Success)));
                    now.Allowed[at] = now.Live && open[at];
                    break;
                case Step.Disallow0 or Step.Disallow1:
                    at = step - Step.Disallow0;
                    rig.Raw(devices[at], new IoasidDeviceDisallow { Ioasid = current }).ShouldBe(-(int)(
                        !open[at] ? Errno.BadDescriptor : now.Allowed[at] || now.Parked[at] ? Errno.Success : Errno.NoEntry));
                    (now.Allowed[at], now.Parked[at]) = (false, false);
                    break;
                case Step.Free:
                    rig.Raw(file, new IoasidFree { Ioasid = current }).ShouldBe(-(int)Of(now.Live ? Errno.Success : Errno.NoEntry));
                    now.End();
                    break;
                case Step.Clear:
                    rig.Raw(file, new IoasidSetDestroy { Flags = IoasidSetDestroyFlags.Keep, SetId = set }).ShouldBe(-(int)Of(Errno.Success));
                    numbers.Values.ToList().ForEach(static number => number.End());
                    break;
                case Step.Close0 or Step.Close1 when open[step - Step.Close0]:
                    Close(step - Step.Close0);
                    break;
                case Step.Reopen0 or Step.Reopen1 when !open[step - Step.Reopen0]:
                    Reopen(step - Step.Reopen0);
                    break;
                case Step.CloseFile when isOpen:
                    rig.Rig.Kernel.Close(file).ShouldBe(0);
                    (file, isOpen) = (-1, false);
                    numbers.Values.ToList().ForEach(static number => number.End());
                    break;
                case Step.ReopenFile when !isOpen:
                    (file, set) = OpenFile(rig);
                    isOpen = true;
                    break;
                case Step.Turn when numbers.Count > 0:
                    current = numbers.Keys.FirstOrDefault(number => number > current, numbers.Keys.First());
                    break;
            }

            foreach ((uint number, Number state) in numbers)
            {
                for (int device = 0; device < 2; device++)
                {
                    rig.Reaches(device, new(number)).ShouldBe(state.Live && state.Bound && state.Allowed[device], $"{step}, number {number}, device {device}");
                }
            }
        }

        rig.Dispose();
    }

    // By number: the client's objects keep the descriptor open as long as there is anything in it.
    private static (int File, uint Set) OpenFile(IoasidRig rig)
    {
        int file = rig.Rig.Kernel.Open(PasidFd.Path, OpenFlags.ReadWrite);
        IoasidSetCreate create = new() { Quota = 10 };
        rig.Rig.Call(file, ref create).ShouldBe(0);
        return (file, create.OutSetId);
    }

    private sealed class Number
    {
        public bool Live { get; set; }

        public bool Bound { get; set; }

        public bool[] Allowed { get; } = new bool[2];

        // Freed while the device might use it: nobody gets the number before the device is told.
        public bool[] Parked { get; } = new bool[2];

        public bool IsTaken => Live || Parked[0] || Parked[1];

        public void End()
        {
            for (int device = 0; device < Allowed.Length; device++)
            {
                Parked[device] |= Allowed[device];
                Allowed[device] = false;
            }

            (Live, Bound) = (false, false);
        }
    }
}
