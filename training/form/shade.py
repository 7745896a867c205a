"""Pictures of traced views, made anew every time: materials, prints, lights, surroundings, camera, background, a spoilt mask.

Everything is a batch on the device. The truth goes with the picture: normals, log of the light that a white matt surface would
send here (albedo 1, no highlights), gloss (1 - roughness).
"""

import math

import torch
import torch.nn.functional as F

SIDE = 256
PARTS = 8
ROUGHNESS = (0.06, 0.2, 0.4, 0.65, 1.0)   # of the blurred levels of the surroundings
BLUR = (0.0, 2.0, 4.5, 9.0, 18.0)         # their sigma, in pixels of 64 x 128


def gaussian(sigma, device):
    r = max(1, int(math.ceil(2.5 * sigma)))
    x = torch.arange(-r, r + 1, device=device, dtype=torch.float32)
    k = torch.exp(-x * x / (2 * max(sigma, 1e-3) ** 2))
    return k / k.sum()


def blurred(x, sigma, wrap=False):
    """Gaussian blur by one sigma; `wrap`: columns join, as those of a panorama do."""
    if sigma <= 0:
        return x
    k, c = gaussian(sigma, x.device).to(x.dtype), x.shape[1]
    r = len(k) // 2
    x = F.pad(x, (r, r, 0, 0), mode="circular" if wrap else "replicate")
    x = F.conv2d(x, k.view(1, 1, 1, -1).expand(c, 1, 1, -1), groups=c)
    x = F.pad(x, (0, 0, r, r), mode="replicate")
    return F.conv2d(x, k.view(1, 1, -1, 1).expand(c, 1, -1, 1), groups=c)


def harmonics(d):
    """Nine real spherical harmonics of unit directions (..., 3, ...) along dim 1."""
    x, y, z = d[:, 0:1], d[:, 1:2], d[:, 2:3]
    return torch.cat((torch.full_like(x, 0.282095), 0.488603 * y, 0.488603 * z, 0.488603 * x, 1.092548 * x * y, 1.092548 * y * z,
                      0.315392 * (3 * z * z - 1), 1.092548 * x * z, 0.546274 * (x * x - y * y)), 1)


class Studio:
    def __init__(self, photos, prints, device, seed=0, surroundings=384):
        """photos: N x 3 x 256 x 256 u8, prints: N x 4 x 192 x 192 u8."""
        self.device = torch.device(device)
        self.random = torch.Generator(self.device)
        self.random.manual_seed(seed)
        self.photos, self.prints = photos.to(self.device), prints.to(self.device)
        self.surround(surroundings)

    def draw(self, *shape, low=0.0, high=1.0):
        return torch.rand(*shape, device=self.device, generator=self.random) * (high - low) + low

    def normal(self, *shape):
        return torch.randn(*shape, device=self.device, generator=self.random)

    def index(self, high, n):
        return torch.randint(high, (n,), device=self.device, generator=self.random)

    def chance(self, p, n):
        return (self.draw(n, 1, 1, 1) < p).float()

    # ---- surroundings ---------------------------------------------------------------------------------------------------

    def surround(self, count):
        """Panoramas (64 x 128, linear): half from photographs with their bright parts made brighter, half made of sky and lamps."""
        n, h, w = count, 64, 128
        y = (torch.arange(h, device=self.device) + 0.5) / h
        x = (torch.arange(w, device=self.device) + 0.5) / w
        up, round_ = (math.pi * (0.5 - y)).view(1, 1, h, 1), (2 * math.pi * x).view(1, 1, 1, w)
        half = n // 2
        pick = self.index(len(self.photos), half)
        photo = F.interpolate(self.photos[pick].float() / 255, (h, w), mode="bilinear", antialias=True)
        light = photo.mean(1, keepdim=True)
        photo = photo.pow(2.2) * (1 + self.draw(half, 1, 1, 1, low=0, high=25) * ((light - 0.75) * 4).clamp(0, 1).square())
        photo = torch.where(self.chance(0.5, half) > 0, photo, photo.mean(1, keepdim=True))
        made = n - half
        sky, ground = self.draw(made, 3, 1, 1, low=0.2, high=1.0), self.draw(made, 3, 1, 1, low=0.02, high=0.6)
        grey = self.chance(0.6, made)
        sky = sky.mean(1, keepdim=True) * grey + sky * (1 - grey)
        ground = ground.mean(1, keepdim=True) * grey + ground * (1 - grey)
        step = torch.sigmoid(up * self.draw(made, 1, 1, 1, low=1.5, high=40))
        level = self.draw(made, 1, 1, 1, low=0.02, high=1.0)
        studio = (ground + (sky - ground) * step) * level
        for _ in range(5):
            cy, cx = self.draw(made, 1, 1, 1, low=-0.5, high=1.4), self.draw(made, 1, 1, 1, low=0, high=2 * math.pi)
            sy, sx = self.draw(made, 1, 1, 1, low=0.05, high=0.6), self.draw(made, 1, 1, 1, low=0.05, high=0.9)
            dx = torch.remainder(round_ - cx + math.pi, 2 * math.pi) - math.pi
            hard = self.draw(made, 1, 1, 1, low=4, high=40)
            lamp = torch.sigmoid((1 - (up - cy).abs() / sy) * hard * sy) * torch.sigmoid((1 - dx.abs() / sx) * hard * sx)
            colour = 1 + self.normal(made, 3, 1, 1) * 0.12
            studio = studio + lamp * colour.clamp(min=0.3) * self.draw(made, 1, 1, 1).pow(3) * 14 * self.chance(0.55, made)
        panorama = torch.cat((photo, studio))
        # mean light 1 over the sphere
        weight = torch.cos(up) / torch.cos(up).mean()
        panorama = panorama / (panorama * weight).mean((1, 2, 3), keepdim=True).clamp(min=1e-3)
        d = torch.stack(torch.broadcast_tensors(torch.cos(up) * torch.sin(round_), -torch.sin(up), torch.cos(up) * torch.cos(round_)), 1)[:, :, 0]
        basis = harmonics(d)  # 1 x 9 x h x w
        area = (torch.cos(up) * (2 * math.pi / w) * (math.pi / h))
        coefficients = torch.einsum("nchw,khw->nkc", panorama, (basis * area)[0])
        # cosine lobe of the matt surface, over pi (Ramamoorthi and Hanrahan 2001)
        band = torch.tensor([1, 2 / 3, 2 / 3, 2 / 3, 0.25, 0.25, 0.25, 0.25, 0.25], device=self.device)
        self.irradiance = coefficients * band.view(1, 9, 1)
        self.panoramas = torch.cat([blurred(panorama, s, wrap=True) for s in BLUR], 1).half()  # n x 15 x h x w

    # ---- geometry ---------------------------------------------------------------------------------------------------------

    def place(self, views, lights, n):
        """The views turned, mirrored, zoomed and shifted."""
        a = self.normal(n) * math.radians(9)
        flip = torch.where(self.draw(n) < 0.5, -1.0, 1.0)
        zoom = torch.exp(self.draw(n, low=math.log(0.62), high=math.log(1.12)))
        zoom = torch.where(self.draw(n) < 0.2, self.draw(n, low=1.1, high=1.7), zoom)
        c, s = torch.cos(a), torch.sin(a)
        m = torch.stack((torch.stack((c * flip, -s), -1), torch.stack((s * flip, c), -1)), 1)  # from here to the view: turn, after the mirror
        slack = (1 - 1 / zoom).abs() * 0.8 + 0.03
        shift = (self.draw(n, 2) * 2 - 1) * slack[:, None]
        grid = F.affine_grid(torch.cat((m / zoom[:, None, None], shift[:, :, None]), 2), (n, 1, SIDE, SIDE), align_corners=False)
        x = views.float()
        hit = x[:, 12:13]
        part = F.grid_sample(x[:, 11:12] + 1, grid, mode="nearest", align_corners=False)
        soft = F.grid_sample(torch.cat((x[:, :11] * hit, hit), 1), grid, mode="bilinear", align_corners=False)
        alpha = soft[:, 11:12]
        soft = soft[:, :11] / alpha.clamp(min=1e-3)
        back = m.transpose(1, 2)  # orthogonal: its inverse
        turned = lambda v: torch.cat((torch.einsum("nij,njhw->nihw", back, v[:, :2]), v[:, 2:3]), 1)
        normal = F.normalize(turned(soft[:, :3]), dim=1, eps=1e-4)
        lit = lights.clone()
        lit[:, :, :2] = torch.einsum("nij,nkj->nki", back, lights[:, :, :2])
        return {"normal": normal, "position": turned(soft[:, 3:6]), "open": soft[:, 6:7].clamp(0, 1), "seen": soft[:, 7:11].clamp(0, 1),
                "part": (part.round() - 1).clamp(0, PARTS - 1).long(), "alpha": alpha}, lit

    # ---- material ----------------------------------------------------------------------------------------------------------

    def colours(self, *shape):
        """Linear colours: greys, muted and vivid ones, dark to light."""
        n = shape[0]
        value = self.draw(*shape, 1).pow(1.3) * 0.85 + 0.03
        hue = self.draw(*shape, 1) * 2 * math.pi
        phase = torch.tensor([0, 2.094, 4.189], device=self.device)
        chroma = 0.5 + 0.5 * torch.cos(hue - phase)
        saturation = self.draw(*shape, 1).pow(1.5) * (self.draw(*shape, 1) < 0.75)
        return (value * (1 - saturation + saturation * chroma * 1.3)).clamp(0.01, 0.95)

    def per_part(self, table, part):
        """table: n x PARTS x c; the values of every pixel's part."""
        n, _, h, w = part.shape
        flat = table.gather(1, part.view(n, h * w, 1).expand(-1, -1, table.shape[2]))
        return flat.transpose(1, 2).reshape(n, -1, h, w)

    def waves(self, p, n, count, low, high):
        """Sums of sines in space, warped: about -1..1."""
        k = F.normalize(self.normal(n, count, 3), dim=2) * torch.exp(self.draw(n, count, 1, low=math.log(low), high=math.log(high)))
        a = torch.einsum("nkc,nchw->nkhw", k, p) + self.draw(n, count, 1, 1, high=6.3)
        return a, k

    def pattern(self, p, n):
        """Blotches, veins and grain: 0..1."""
        a, k = self.waves(p, n, 10, 1.5, 40)
        warp = torch.sin(a[:, :3]).sum(1, keepdim=True) * self.draw(n, 1, 1, 1, high=2.5)
        size = k.norm(dim=2)[:, :, None, None].pow(-self.draw(n, 1, 1, 1, low=0, high=0.9))
        v = (torch.sin(a + warp) * size).sum(1, keepdim=True) / size.square().sum(1, keepdim=True).sqrt()
        veins = 1 - v.abs() * 2
        v = torch.where(self.chance(0.3, n) > 0, veins, v)
        return torch.sigmoid(v * torch.exp(self.draw(n, 1, 1, 1, low=0, high=3.2)))

    def stripes(self, p, n):
        a, _ = self.waves(p, n, 3, 4, 45)
        duty = self.draw(n, 1, 1, 1, low=-0.7, high=0.7)
        sharp = torch.exp(self.draw(n, 1, 1, 1, low=1, high=3.2))
        s = torch.sigmoid((torch.sin(a[:, :1] + 0.6 * torch.sin(a[:, 2:] * 0.3) * self.chance(0.4, n)) - duty) * sharp)
        t = torch.sigmoid((torch.sin(a[:, 1:2]) - duty) * sharp)
        kind = self.draw(n, 1, 1, 1)
        return torch.where(kind < 0.5, s, torch.where(kind < 0.8, s * (1 - t) + t * (1 - s), s * t))

    def rotations(self, n):
        """n x 3 x 3, from unit quaternions."""
        w, x, y, z = F.normalize(self.normal(n, 4), dim=1).unbind(1)
        return torch.stack((1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y), 2 * (x * y + w * z), 1 - 2 * (x * x + z * z),
                            2 * (y * z - w * x), 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)), 1).view(n, 3, 3)

    def decal(self, p, n, pool, low, high):
        """Pictures projected onto the surface, flat or around an axis."""
        axes = self.rotations(n)
        q = torch.einsum("nij,njhw->nihw", axes, p)
        around = torch.atan2(q[:, 0:1], q[:, 2:3].abs() + 1e-3) * 0.6
        u = torch.where(self.chance(0.4, n) > 0, around, q[:, 0:1])
        # mostly turned so that the picture can be seen
        facing = self.chance(0.6, n)
        u, v = torch.where(facing > 0, p[:, 0:1], u), torch.where(facing > 0, p[:, 1:2], q[:, 1:2])
        scale = torch.exp(self.draw(n, 1, 1, 1, low=math.log(low), high=math.log(high)))
        grid = torch.cat((u, v), 1) * scale + (self.draw(n, 2, 1, 1) - 0.5) * 1.2
        return F.grid_sample(pool[self.index(len(pool), n)].float() / 255, grid.permute(0, 2, 3, 1), mode="bilinear",
                             padding_mode="reflection", align_corners=False), grid

    def material(self, g, n):
        part, p = g["part"], g["position"]
        single = (self.draw(n, 1, 1) < 0.3).float()
        base, second = self.colours(n, PARTS), self.colours(n, PARTS)
        base = base * (1 - single) + base[:, :1] * single
        rough = torch.where(self.draw(n, PARTS, 1) < 0.4, self.draw(n, PARTS, 1, low=0.55, high=1.0), self.draw(n, PARTS, 1, low=0.06, high=0.7))
        metal = (self.draw(n, PARTS, 1) < 0.14).float()
        rough = rough * (1 - single) + rough[:, :1] * single
        metal = metal * (1 - single) + metal[:, :1] * single
        # panes and rubber: dark parts, among others
        dark = (self.draw(n, PARTS, 1) < 0.12).float() * (1 - single)
        base = base * (1 - dark) + dark * self.draw(n, PARTS, 1, low=0.01, high=0.06)
        rough = rough * (1 - dark) + dark * self.draw(n, PARTS, 1, low=0.05, high=0.5)
        metal = metal * (1 - dark)
        # metals are bright
        base = base * (1 - metal) + metal * (0.45 + 0.5 * base / base.amax(2, keepdim=True).clamp(min=0.02))
        table = torch.cat((base, second, rough, metal, (self.draw(n, PARTS, 1) < 0.7).float()), 2)
        v = self.per_part(table, part)
        albedo, other, rough, metal, decorated = v[:, :3], v[:, 3:6], v[:, 6:7], v[:, 7:8], v[:, 8:9]
        kind = self.draw(n, 1, 1, 1)
        amount = torch.where(kind < 0.16, self.stripes(p, n), torch.where(kind < 0.42, self.pattern(p, n), 0.0))
        strength = self.draw(n, 1, 1, 1, low=0.25, high=1.0)
        albedo = albedo + (other - albedo) * amount * strength * decorated
        photo, _ = self.decal(p, n, self.photos, 0.5, 3.0)
        photo = photo.pow(2.2)
        mix = torch.where((kind > 0.42) & (kind < 0.62), strength, 0.0) * decorated
        tinted = self.chance(0.4, n)
        photo = photo * (1 - tinted) + tinted * albedo * photo.mean(1, keepdim=True) * 2.2
        albedo = albedo + (photo - albedo) * mix
        letters, grid = self.decal(p, n, self.prints, 0.9, 3.5)
        once = (grid.abs().amax(1, keepdim=True) < 1).float()
        repeat = self.chance(0.3, n)
        on = letters[:, 3:4] * (once * (1 - repeat) + repeat) * torch.where((kind > 0.58) & (kind < 0.8), 1.0, 0.0)
        ink = letters[:, :3].pow(2.2)
        plain = self.chance(0.35, n)
        ink = ink * (1 - plain) + plain * other
        albedo = albedo + (ink - albedo) * on
        # fine grain over everything, dirt
        grain, _ = self.waves(p, n, 4, 30, 160)
        albedo = albedo * (1 + torch.sin(grain + torch.sin(grain.flip(1))).mean(1, keepdim=True) * self.draw(n, 1, 1, 1).pow(3) * 0.7)
        albedo = albedo.clamp(0.008, 0.95)
        return albedo, rough.clamp(0.06, 1), metal

    def bumped(self, g, n):
        """Small relief on top of what was traced, on some: weave, grain, dents, folds."""
        p, normal = g["position"], g["normal"]
        a, k = self.waves(p, n, 6, 12, 90)
        warp = torch.sin(a[:, :2]).sum(1, keepdim=True) * self.draw(n, 1, 1, 1, high=1.5)
        slope = torch.cos(a + warp) / math.sqrt(6) * 1.6
        direction = F.normalize(k, dim=2)
        gradient = torch.einsum("nkhw,nkc->nchw", slope, direction)
        gradient = gradient - (gradient * normal).sum(1, keepdim=True) * normal
        much = self.draw(n, 1, 1, 1, low=0.03, high=0.3) * self.chance(0.22, n)
        out = normal - gradient * much
        out[:, 2:3] = out[:, 2:3].clamp(min=-0.05)
        return F.normalize(out, dim=1, eps=1e-4)

    # ---- light --------------------------------------------------------------------------------------------------------------

    def lit(self, g, lights, albedo, rough, metal, n):
        """Linear colour and the matt light without albedo (n x 3)."""
        normal, open_ = g["normal"], g["open"]
        which = self.index(len(self.irradiance), n)
        yaw, tilt = self.draw(n, high=2 * math.pi), self.normal(n) * 0.25
        c, s, ct, st = torch.cos(yaw), torch.sin(yaw), torch.cos(tilt), torch.sin(tilt)
        o, l = torch.zeros_like(c), torch.ones_like(c)
        turn = torch.stack((c, o, s, o, l, o, -s, o, c), 1).view(n, 3, 3) @ torch.stack((l, o, o, o, ct, -st, o, st, ct), 1).view(n, 3, 3)
        world = lambda v: torch.einsum("nij,njhw->nihw", turn, v)
        sky = torch.einsum("nkc,nkhw->nchw", self.irradiance[which], harmonics(world(normal))).clamp(min=0.02)
        ambient = torch.exp(self.draw(n, 1, 1, 1, low=math.log(0.15), high=math.log(1.6)))
        # occlusion, stronger or weaker than traced; light that bounces between near walls takes on their colour (Jimenez et al. 2016)
        open_ = open_.clamp(min=0.02).pow(self.draw(n, 1, 1, 1, low=0.6, high=1.5))
        bounce = (open_ / (1 - albedo * 0.8 * (1 - open_))).clamp(max=1)
        warm = 1 + self.normal(n, 4, 3, 1, 1) * 0.1
        power = torch.exp(self.normal(n, 4, 1, 1, 1) * 0.6) * torch.tensor([2.2, 0.9, 1.2, 1.2], device=self.device).view(1, 4, 1, 1, 1)
        present = torch.stack([self.draw(n) < q for q in (0.75, 0.3, 0.3, 0.25)], 1).float().view(n, 4, 1, 1, 1)
        power = power * present * warm.clamp(min=0.5)
        wrap = (self.draw(n, 1, 1, 1) < 0.3).float() * self.draw(n, 1, 1, 1, high=0.4)
        view = torch.tensor([0.0, 0, 1], device=self.device).view(1, 3, 1, 1)
        nv = normal[:, 2:3].clamp(0.03, 1)
        alpha = rough * rough
        f0 = 0.04 + (albedo - 0.04) * metal
        matt, shine = torch.zeros_like(albedo), torch.zeros_like(albedo)
        for i in range(4):
            d = lights[:, i, :3, None, None]
            raw = (normal * d).sum(1, keepdim=True)
            nl = raw.clamp(min=0)
            lobe = ((raw + wrap) / (1 + wrap)).clamp(min=0)
            colour = power[:, i] * g["seen"][:, i:i + 1]
            matt = matt + colour * (lobe * (wrap > 0) + nl * (wrap <= 0))
            half = F.normalize(d + view, dim=1, eps=1e-4)
            nh = (normal * half).sum(1, keepdim=True).clamp(0, 1)
            vh = (half * view).sum(1, keepdim=True).clamp(0, 1)
            spread = (alpha * alpha).clamp(min=1e-3)
            ggx = spread / (math.pi * (nh * nh * (spread - 1) + 1).square())
            k = (rough + 1).square() / 8
            smith = 0.25 / ((nl * (1 - k) + k) * (nv * (1 - k) + k))
            fresnel = f0 + (1 - f0) * (1 - vh).pow(5)
            shine = shine + colour * nl * (ggx * smith * fresnel).clamp(max=60) * math.pi
        mirror = world(2 * nv * normal - view)
        mirror = F.normalize(mirror, dim=1, eps=1e-4)
        across = torch.atan2(mirror[:, 0], mirror[:, 2]) / math.pi
        across = torch.where(across < 0, across + 2, across) - 1
        down = torch.asin(mirror[:, 1].clamp(-0.999, 0.999)) / (math.pi / 2)
        seen = F.grid_sample(self.panoramas[which].float(), torch.stack((across, down), -1), mode="bilinear", padding_mode="border", align_corners=False)
        seen = seen.view(n, len(BLUR), 3, *seen.shape[-2:])
        r = rough.unsqueeze(1)
        levels = torch.tensor(ROUGHNESS, device=self.device)
        weights = []
        for i in range(len(BLUR)):
            w = torch.ones_like(r)
            if i > 0:
                w = w * ((r - levels[i - 1]) / (levels[i] - levels[i - 1])).clamp(0, 1)
            if i + 1 < len(BLUR):
                w = w * ((levels[i + 1] - r) / (levels[i + 1] - levels[i])).clamp(0, 1)
            weights.append(w)
        reflected = (seen * torch.cat(weights, 1)).sum(1)
        # Fresnel and geometry of the surroundings' reflection (Karis 2014)
        c0, c1 = (-1, -0.0275, -0.572, 0.022), (1, 0.0425, 1.04, -0.04)
        q = [rough * a + b for a, b in zip(c0, c1)]
        a004 = torch.minimum(q[0] * q[0], torch.exp2(-9.28 * nv)) * q[0] + q[1]
        scale, offset = -1.04 * a004 + q[2], 1.04 * a004 + q[3]
        shine = shine + reflected * ambient * (f0 * scale + offset).clamp(min=0) * (open_ * 0.8 + 0.2)
        plain = matt + sky * ambient * open_
        coloured = matt + sky * ambient * bounce
        out = albedo * coloured * (1 - metal) + shine * self.draw(n, 1, 1, 1, low=0.4, high=1.2).where(metal.amax((1, 2, 3), keepdim=True) < 0.5, torch.ones_like(ambient))
        return out, plain

    # ---- camera --------------------------------------------------------------------------------------------------------------

    def developed(self, x, inside, n):
        """Exposure, tone, white balance: 0..1 as displayed."""
        area = inside.sum((2, 3), keepdim=True).clamp(min=1)
        mean = (x.mean(1, keepdim=True) * inside).sum((2, 3), keepdim=True) / area
        x = x / mean.clamp(min=1e-3) * torch.exp(self.draw(n, 1, 1, 1, low=math.log(0.08), high=math.log(0.55)))
        x = x * (1 + self.normal(n, 3, 1, 1) * 0.06)
        knee = self.draw(n, 1, 1, 1)
        x = torch.where(knee < 0.35, x, torch.where(knee < 0.75, x * (1 + x / 4) / (1 + x), 1 - torch.exp(-1.4 * x)))
        x = x.clamp(1e-5, 1).pow(1 / 2.2)
        contrast = self.draw(n, 1, 1, 1, low=-0.25, high=0.45)
        return (x + contrast * (x * x * (3 - 2 * x) - x)).clamp(0, 1)

    def backgrounds(self, n):
        pick = self.index(len(self.photos), n)
        zoom = self.draw(n, 1, 1, low=0.3, high=1.0)
        shift = (self.draw(n, 2, 1) * 2 - 1) * (1 - zoom)
        flip = torch.where(self.draw(n, 1, 1) < 0.5, -1.0, 1.0)
        o = torch.zeros_like(zoom)
        m = torch.cat((torch.cat((zoom * flip, o), 1), torch.cat((o, zoom), 1)), 2).transpose(1, 2)
        photo = F.grid_sample(self.photos[pick].float() / 255, F.affine_grid(torch.cat((m, shift), 2), (n, 3, SIDE, SIDE), align_corners=False),
                              mode="bilinear", padding_mode="reflection", align_corners=False)
        soft = blurred(photo, 4.0)
        photo = torch.where(self.chance(0.35, n) > 0, soft, photo)
        y = torch.linspace(-1, 1, SIDE, device=self.device).view(1, 1, SIDE, 1)
        x = y.view(1, 1, 1, SIDE)
        a, b = self.colours(n, 1).view(n, 3, 1, 1).sqrt(), self.colours(n, 1).view(n, 3, 1, 1).sqrt()
        light = self.chance(0.5, n)
        a = a * (1 - light) + light * self.draw(n, 1, 1, 1, low=0.75, high=1.0)
        b = torch.where(self.chance(0.5, n) > 0, a * self.draw(n, 1, 1, 1, low=0.6, high=1.1), b)
        horizon = torch.sigmoid((y + 0.3 * self.normal(n, 1, 1, 1) + 0.2 * x * self.normal(n, 1, 1, 1)) * torch.exp(self.draw(n, 1, 1, 1, low=0, high=3.5)))
        sweep = (a + (b - a) * horizon).clamp(0, 1)
        flat = self.draw(n, 1, 1, 1)
        flat = torch.where(flat < 0.4, torch.ones_like(flat), torch.where(flat < 0.6, torch.zeros_like(flat), self.draw(n, 1, 1, 1))).expand(-1, 3, SIDE, SIDE)
        kind = self.draw(n, 1, 1, 1)
        return torch.where(kind < 0.55, photo, torch.where(kind < 0.85, sweep, flat))

    def shadowed(self, background, alpha, n):
        """A soft shadow below and beside the subject, on some."""
        wide, near = blurred(alpha, 10.0), blurred(alpha, 4.0)
        shift = [int(v) for v in torch.randint(0, 24, (2,), generator=self.random, device=self.device).tolist()]
        cast = torch.roll(wide, (shift[0] // 2 + 4, shift[1] - 12), (2, 3))
        dark = (self.draw(n, 1, 1, 1, high=0.7) * cast + self.draw(n, 1, 1, 1, high=0.4) * torch.roll(near, 5, 2)) * self.chance(0.45, n)
        return background * (1 - dark.clamp(0, 0.9))

    def spoilt(self, x, n):
        """Blur, vignette, noise, the blocks of a JPEG."""
        soft = blurred(x, 0.7)
        softer = blurred(x, 1.3)
        how = self.draw(n, 1, 1, 1)
        x = torch.where(how < 0.4, x, torch.where(how < 0.8, soft, softer))
        sharp = (x + (x - blurred(x, 1.0)) * self.draw(n, 1, 1, 1, high=1.0)).clamp(0, 1)
        x = torch.where(self.chance(0.25, n) > 0, sharp, x)
        y = torch.linspace(-1, 1, SIDE, device=self.device)
        radius = y.view(1, 1, 1, -1).square() + y.view(1, 1, -1, 1).square()
        x = x * (1 - radius * self.draw(n, 1, 1, 1, high=0.2) * self.chance(0.3, n))
        x = x + self.normal(n, 3, SIDE, SIDE) * self.draw(n, 1, 1, 1).square() * 0.04
        grey = self.chance(0.06, n)
        x = x * (1 - grey) + x.mean(1, keepdim=True) * grey
        return torch.where(self.chance(0.4, n) > 0, self.blocks(x, n), x).clamp(0, 1)

    def blocks(self, x, n):
        """8 x 8 cosine transform, rounded."""
        k = torch.arange(8, device=self.device, dtype=torch.float32)
        dct = torch.cos(math.pi / 8 * (k[None] + 0.5) * k[:, None]) * math.sqrt(2 / 8)
        dct[0] /= math.sqrt(2)
        t = x.view(n, 3, SIDE // 8, 8, SIDE // 8, 8)
        t = torch.einsum("ui,nchiwj,vj->nchuwv", dct, t, dct)
        step = (1 + (k[:, None] + k[None]) * 0.7).view(1, 1, 1, 8, 1, 8) * self.draw(n, 1, 1, 1, 1, 1, low=0.01, high=0.06)
        t = (t / step).round() * step
        return torch.einsum("ui,nchuwv,vj->nchiwj", dct, t, dct).reshape(n, 3, SIDE, SIDE)

    def masked(self, alpha, n):
        """The mask as a network would draw it."""
        low = F.interpolate(self.normal(n, 1, 12, 12), (SIDE, SIDE), mode="bicubic", align_corners=False)
        fine, soft = blurred(alpha, 1.5), blurred(alpha, 4.0)
        how = self.draw(n, 1, 1, 1)
        edge = torch.where(how < 0.45, fine, soft)
        edge = ((edge - 0.5 + low * 0.12 * self.chance(0.5, n) + 0.15 * self.normal(n, 1, 1, 1)) * self.draw(n, 1, 1, 1, low=2.0, high=8.0) + 0.5).clamp(0, 1)
        edge = edge * (1 - self.chance(0.12, n) * torch.sigmoid((low - 1.5) * 12))
        return torch.where(how < 0.3, alpha, edge)

    # ---- all -----------------------------------------------------------------------------------------------------------------

    def batch(self, views, lights):
        """Input n x 4 x SIDE x SIDE (0..1) and the truth of n views."""
        n = len(views)
        g, lights = self.place(views, lights, n)
        g["normal"] = self.bumped(g, n)
        alpha = g["alpha"]
        inside = (alpha > 0.5).float()
        albedo, rough, metal = self.material(g, n)
        colour, plain = self.lit(g, lights, albedo, rough, metal, n)
        picture = self.developed(colour, inside, n)
        background = self.shadowed(self.backgrounds(n), alpha, n)
        picture = self.spoilt(background + (picture - background) * alpha, n)
        mask = self.masked(alpha, n)
        weight = inside * (mask > 0.1)
        luminance = (plain * torch.tensor([0.2126, 0.7152, 0.0722], device=self.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
        shading = torch.log(luminance.clamp(min=1e-4)).clamp(min=-7)
        area = weight.sum((2, 3), keepdim=True).clamp(min=1)
        shading = (shading - (shading * weight).sum((2, 3), keepdim=True) / area).clamp(-3.5, 2.5)
        truth = {"normal": g["normal"], "shading": shading, "gloss": 1 - rough, "inside": weight}
        return torch.cat((picture, mask), 1), truth
