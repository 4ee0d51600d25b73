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
        Reopen0,
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
    [Trait("Requirement", "S1.12")]
    public void Any_order_is_safe_and_DMA_reaches_memory_exactly_when_both_were_given()
    {
        Gen<Step[]> steps = Gen.Elements(Enum.GetValues<Step>()).ArrayOf(25);
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
                Errno error = PasidFd.TryOpen(rig.Rig.Kernel, out PasidFd? pasids);
                PasidSet? set = null;
                PasidHandle? pasid = null;
                VirtualMachinePasids? machine = null;
                Errno Then(Func<Errno> next) => error = error == Errno.Success ? next() : error;
                _ = Then(() => pasids!.TryCreateSet(3, out set));
                _ = Then(() => set!.TryAllocate(new() { Guest = new(1) }, out pasid));
                _ = Then(() => rig.Devices[0].TryAllow(pasid!));
                _ = Then(() => pasid!.TryBind(rig.Space));
                _ = Then(() => rig.Devices[1].TryAllow(pasid!));
                _ = Then(() => pasids!.TryCreateVirtualMachine(out machine));
                _ = Then(() => machine!.TryMap(new(1), pasid!));
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

    // Beside a model: is there an IOASID, is memory bound, which devices may use it.
    private static void Play(params Step[] steps)
    {
        IoasidRig rig = new();
        int fd = rig.Fd;
        uint number = 0;
        bool live = false, bound = false;
        bool[] allowed = [false, false], dead = [false, false], open = [true, true];
        int[] devices = [rig.Devices[0].Descriptor.Number, rig.Devices[1].Descriptor.Number];

        void End()
        {
            for (int device = 0; device < 2; device++)
            {
                dead[device] |= allowed[device];
                allowed[device] = false;
            }

            (live, bound) = (false, false);
        }

        foreach (Step step in steps)
        {
            switch (step)
            {
                case Step.Allocate when !live && !dead[0] && !dead[1]:
                    IoasidAlloc alloc = new() { SetId = rig.Set.Id.Value, Flags = IoasidAllocFlags.LowestFirst };
                    rig.Rig.Call(fd, ref alloc).ShouldBe(0);
                    (number, live) = (alloc.OutIoasid, true);
                    break;
                case Step.Bind:
                    IoasidBind bind = new()
                    {
                        Ioasid = number, Kind = IoasidBindKind.Ioas, Iommufd = rig.Iommu.Descriptor.Number, ObjectId = rig.Space.Id,
                    };
                    rig.Rig.Call(fd, ref bind).ShouldBe(-(int)(!live ? Errno.NoEntry : bound ? Errno.Busy : Errno.Success));
                    bound = live;
                    break;
                case Step.Unbind:
                    rig.Raw(fd, new IoasidUnbind { Ioasid = number }).ShouldBe(-(int)(bound ? Errno.Success : Errno.NoEntry));
                    bound = false;
                    break;
                case Step.Allow0 or Step.Allow1:
                    int at = step - Step.Allow0;
                    rig.Raw(devices[at], new IoasidDeviceAllow { IoasidFd = fd, Ioasid = number }).ShouldBe(-(int)(
                        !open[at] ? Errno.BadDescriptor : !live ? Errno.NoEntry : allowed[at] ? Errno.Exists : Errno.Success));
                    allowed[at] = live && open[at];
                    break;
                case Step.Disallow0 or Step.Disallow1:
                    at = step - Step.Disallow0;
                    rig.Raw(devices[at], new IoasidDeviceDisallow { Ioasid = number }).ShouldBe(-(int)(
                        !open[at] ? Errno.BadDescriptor : allowed[at] || dead[at] ? Errno.Success : Errno.NoEntry));
                    (allowed[at], dead[at]) = (false, false);
                    break;
                case Step.Free:
                    rig.Raw(fd, new IoasidFree { Ioasid = number }).ShouldBe(-(int)(live ? Errno.Success : Errno.NoEntry));
                    End();
                    break;
                case Step.Clear:
                    rig.Raw(fd, new IoasidSetDestroy { Flags = IoasidSetDestroyFlags.Keep, SetId = rig.Set.Id.Value }).ShouldBe(0);
                    End();
                    break;
                case Step.Close0 when open[0]:
                    rig.Devices[0].Dispose();
                    (open[0], allowed[0], dead[0]) = (false, false, false);
                    break;
                case Step.Reopen0 when !open[0]:
                    rig.Devices[0] = VfioDevice.Open(rig.Rig.Kernel, rig.Paths[0]);
                    _ = rig.Devices[0].Bind(rig.Iommu);
                    (open[0], devices[0]) = (true, rig.Devices[0].Descriptor.Number);
                    break;
            }

            for (int device = 0; device < 2; device++)
            {
                rig.Reaches(device, new(number)).ShouldBe(live && bound && allowed[device], step.ToString());
            }
        }

        rig.Dispose();
    }
}
